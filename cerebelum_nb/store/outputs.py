"""All that attempts print, where it is more than a run's events hold, and what they display: files of the run.

Plain text, both streams as they came, so that ``tail -f`` reads it while the step runs; readable by its owner only.
They are in the folder of the run's results, and go with them.
"""

import os
from pathlib import Path
from typing import Final

import msgspec

from cerebelum_nb.store.results import make_folders

SHOWN_MOST: Final = 200  # outputs that one attempt may display
_encode: Final = msgspec.msgpack.encode
_decode: Final = msgspec.msgpack.Decoder(dict[str, bytes]).decode


class Text:
    """What one attempt prints, appended to its file as it comes.

    Args:
        limit: Bytes that are kept; of what follows there is only the end, see `end`.
    """

    def __init__(self, run: "Folder", task: int, attempt: int, limit: int) -> None:
        self.path = run.text_path(task, attempt)
        self.left_out = 0  # bytes
        self.failed = ""  # why nothing more is kept
        self._room = limit
        self._fd = -1
        try:
            make_folders(run.first, self.path.parent)
            self._fd = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND, 0o600)
        except OSError as exc:
            self.failed = str(exc)

    def write(self, text: str) -> None:
        """Append a piece, as far as there is room."""
        data = text.encode("utf-8", "replace")
        kept, self._room = data[: self._room], max(0, self._room - len(data))
        self.left_out += len(data) - len(kept)
        if kept:
            self._append(kept)

    def end(self, tail: str) -> None:
        """Nothing follows. Where pieces were left out, that is said and the end of it all appended."""
        if self.left_out:
            self._append(
                f"\n… {self.left_out:,} bytes are not kept; it ended with …\n{tail}".encode("utf-8", "replace")
            )
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if self._fd >= 0:  # its run was given up
            os.close(self._fd)

    def _append(self, data: bytes) -> None:
        try:
            while self._fd >= 0 and data:
                data = data[os.write(self._fd, data) :]
        except OSError as exc:  # no room: the run goes on, and what there is stays
            self.failed = str(exc)
            os.close(self._fd)
            self._fd = -1


class Folder:
    """The files of one run's outputs.

    Args:
        first: The project's folder; made, with the run's own in it, when the first file is written.
        limit: Bytes that are kept of what one attempt prints.
    """

    def __init__(self, first: Path, run: str, limit: int) -> None:
        self.first, self._own, self._limit = first, first / "results" / run, limit

    def text_path(self, task: int, attempt: int) -> Path:
        """Where a long output is, if there is one."""
        return self._own / f"{task}-{attempt}.txt"

    def text(self, task: int, attempt: int) -> Text:
        """Begin the file of an attempt's output."""
        return Text(self, task, attempt, self._limit)

    def read(self, task: int, attempt: int) -> str | None:
        """All that an attempt printed; None where it is so little that the events hold it."""
        try:
            return self.text_path(task, attempt).read_text("utf-8", "replace")
        except OSError:
            return None

    def show(self, task: int, attempt: int, number: int, bundle: dict[str, bytes]) -> None:
        """Keep what an attempt displays.

        Raises:
            OSError: There is no room for it.
        """
        path = self._shown_path(task, attempt, number)
        make_folders(self.first, path.parent)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(_encode(bundle))

    def shown(self, task: int, attempt: int, number: int) -> dict[str, bytes]:
        """What an attempt displayed; nothing where that is gone."""
        try:
            return _decode(self._shown_path(task, attempt, number).read_bytes())
        except (OSError, msgspec.DecodeError):
            return {}

    def _shown_path(self, task: int, attempt: int, number: int) -> Path:
        return self._own / f"{task}-{attempt}.{number}.shown"
