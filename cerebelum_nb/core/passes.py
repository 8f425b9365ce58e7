"""The passes of a served Core, and their files: no living Core's pass is overwritten, and each removes only its own."""

import contextlib
import fcntl
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cerebelum_nb.errors import WireError
from cerebelum_nb.wire.certificates import Issued
from cerebelum_nb.wire.credentials import Pass, Role, read_pass, remove_pass, write_pass
from cerebelum_nb.wire.probe import probe


class Grant(NamedTuple):
    """What the holder of a pass may do.

    Attributes:
        path: The pass.
        option: What a person writes to have it elsewhere.
        pool: Workers join for the steps of this one only; empty for any.
    """

    role: Role
    path: Path
    option: str
    pool: str = ""


class Passes:
    """All passes of one Core, each with a token of its own."""

    def __init__(self, grants: Iterable[Grant], issued: Issued) -> None:
        self._grants, self._issued = tuple(grants), issued
        self._tokens = [secrets.token_urlsafe(32) for _ in self._grants]
        self._claims: list[Claim] = []

    def claim(self) -> None:
        """Take their files. Blocks for some seconds where one holds the pass of a host that does not answer.

        Raises:
            WireError: One is another Core's, or cannot be written.
        """
        for grant in self._grants:
            self._claims.append(Claim(grant.path, grant.option))

    def write(self, url: str) -> None:
        """Put them there.

        Raises:
            WireError: A file cannot be written.
        """
        for grant, token, claim in zip(self._grants, self._tokens, self._claims, strict=True):
            leaf = self._issued.kernel if grant.role == "kernel" else self._issued.worker
            made = Pass(url, grant.role, token, leaf.certificate, leaf.key, self._issued.authority, grant.pool)
            claim.write(made)

    def of(self, token: bytes) -> Grant | None:
        """Whose token that is; None for nobody's. Takes as long for each."""
        found = None
        for grant, its in zip(self._grants, self._tokens, strict=True):
            if hmac.compare_digest(token, its.encode()):
                found = grant
        return found

    def release(self) -> None:
        """They open nothing any more: remove them."""
        for claim in self._claims:
            claim.release()


class Claim:
    """A file for a pass, locked while its Core lives: the system unlocks it however that ends.

    Args:
        option: What a person writes to take another file.
    """

    def __init__(self, path: Path, option: str) -> None:
        """Take the file. Blocks for some seconds where it holds the pass of a host that does not answer.

        Raises:
            WireError: It belongs to a Core that lives, or cannot be written.
        """
        self._path, self._option = path, option
        self._given: Pass | None = None
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = self._locked()
            self._is_new = not os.fstat(self._fd).st_size
        except OSError as exc:
            raise WireError(f"the pass cannot be written to {str(path)!r}: {exc.strerror}") from None
        if not self._is_new and self._answers():
            os.close(self._fd)
            raise self._taken()

    def write(self, given: Pass) -> None:
        """Put the pass there, as a whole.

        Raises:
            WireError: The file cannot be written.
        """
        before = self._fd  # stays locked until the new file, which is another one, is there under its name
        write_pass(self._path, given, self._keep)
        os.close(before)
        self._given = given

    def release(self) -> None:
        """Remove what we have put there, and let others have the file."""
        if self._given is not None:
            remove_pass(self._path, self._given)
        elif self._is_new:
            self._path.unlink(missing_ok=True)
        os.close(self._fd)

    def _locked(self) -> int:
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _lock(fd)
                if os.path.samestat(os.fstat(fd), self._path.stat()):
                    return fd
            except BlockingIOError:
                os.close(fd)
                raise self._taken() from None
            except FileNotFoundError:
                pass  # removed between the two: make it anew
            os.close(fd)

    def _keep(self, fd: int) -> None:
        self._fd = os.dup(fd)
        _lock(self._fd)

    def _answers(self) -> bool:
        """Whether the Core of the pass that is there can be reached: it may be a copy from another host."""
        try:
            old = read_pass(self._path)
            probe(old.core, self._path, old)
        except WireError:
            return False
        return True

    def _taken(self) -> WireError:
        url = ""
        with contextlib.suppress(WireError):
            url = f" ({read_pass(self._path).core})"
        return WireError(
            f"the pass {str(self._path)!r} belongs to a Core that is served now{url}: give this one a file of its own "
            f"by {self._option} FILE, or end the other one"
        )


def _lock(fd: int) -> None:
    """Lock a file, as far as its file system can.

    Raises:
        BlockingIOError: Somebody else has locked it.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return
