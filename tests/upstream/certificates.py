"""Certificates for tests: one authority, and what it signs."""

import datetime as dt
import ipaddress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Authority:
    """Signs; its own certificate is at `path`."""

    def __init__(self, path: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(path.stem)
        self.path = path
        path.write_bytes(self._signed(self._name, self._key, 1, None))

    def leaf(self, hosts: str = "localhost 127.0.0.1", days: float = 1) -> tuple[bytes, bytes]:
        """A key and its certificate, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        encoded = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return encoded, self._signed(_named(hosts), key, days, hosts)

    def _signed(self, name: Any, key: Any, days: float, hosts: str | None) -> bytes:
        now = dt.datetime.now(dt.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=9))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(hosts is None, None), critical=True)
        )
        if hosts is not None:
            made = made.add_extension(x509.SubjectAlternativeName([*map(_host, hosts.split())]), critical=False)
        return made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _named(name: str) -> Any:
    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])


def _host(host: str) -> Any:
    return x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
