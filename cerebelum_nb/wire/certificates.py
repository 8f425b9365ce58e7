"""Certificates of one Core: an authority of its own that lives only while they are made. Needs the extra `tls`."""

import datetime as dt
import importlib
from typing import Any, Final, NamedTuple

from cerebelum_nb.errors import WireError
from cerebelum_nb.wire.credentials import SERVER_NAME

DAYS: Final = 30
_CLOCK_S: Final = 300  # that the other host's clock may be behind


class Leaf(NamedTuple):
    """A certificate and its key, as PEM."""

    certificate: str
    key: str


class Issued(NamedTuple):
    """All that one Core and its guests need. The authority's own key is gone: nobody can make another one."""

    authority: str
    server: Leaf
    kernel: Leaf
    worker: Leaf


def issue(days: float = DAYS) -> Issued:
    """Make them (P-256).

    Raises:
        WireError: The extra `tls` is not installed.
    """
    try:
        importlib.import_module("cryptography.x509")
    except ImportError:
        raise WireError(
            'a Core that listens on the network needs certificates: pip install "cerebelum_nb[tls]"'
        ) from None
    maker = _Maker(days)
    return Issued(maker.authority, maker.leaf(SERVER_NAME, server=True), maker.leaf("kernel"), maker.leaf("worker"))


class _Maker:
    def __init__(self, days: float) -> None:
        from cryptography import x509  # noqa: PLC0415  an extra
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

        self._x509, self._ec = x509, ec
        now = dt.datetime.now(dt.UTC)
        self._from = now - dt.timedelta(seconds=_CLOCK_S)
        self._until = now + dt.timedelta(days=days)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(x509, "cerebelum")
        self.authority = self._certificate(self._name, self._key, authority=True)

    def leaf(self, name: str, *, server: bool = False) -> Leaf:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

        key = self._ec.generate_private_key(self._ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Leaf(self._certificate(_named(self._x509, name), key, server=server), pem.decode())

    def _certificate(self, name: Any, key: Any, *, authority: bool = False, server: bool = False) -> str:
        from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415

        x509, usage = self._x509, self._x509.oid.ExtendedKeyUsageOID
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._from)
            .not_valid_after(self._until)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(_key_usage(x509, authority=authority), critical=True)
        )
        if server:
            made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]), critical=False)
        if not authority:
            who = usage.SERVER_AUTH if server else usage.CLIENT_AUTH
            made = made.add_extension(x509.ExtendedKeyUsage([who]), critical=False)
        pem: bytes = made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        return pem.decode()


def _named(x509: Any, name: str) -> Any:
    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])


def _key_usage(x509: Any, *, authority: bool) -> Any:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
