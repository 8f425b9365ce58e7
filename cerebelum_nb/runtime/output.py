"""What one attempt prints and displays, on its way into events: a flood is thinned, all of it goes to a file.

Short output is events and nothing else. A longer one also has a file of its own, from its first character on. Of a very
long one the events tell the beginning, then now and then its newest lines, and its end.
"""

from collections import deque
from collections.abc import Mapping
from time import perf_counter
from typing import Final

from cerebelum_nb.model.events import Stream
from cerebelum_nb.model.state import OUTPUT_TAIL
from cerebelum_nb.rich import plain_of
from cerebelum_nb.store.outputs import SHOWN_MOST, Folder, Text

FILE_FROM: Final = OUTPUT_TAIL  # characters that the fold of the events keeps by itself
TOLD_MOST: Final = 1 << 20  # characters that events tell in full
SAMPLE: Final = 4096  # characters of the newest ones that are told from then on
SAMPLE_S: Final = 1.0  # so often

Piece = tuple[Stream, str]


class Output:
    """One attempt's output.

    Args:
        folder: Where files are kept; None for nowhere.
    """

    __slots__ = ("_file", "_folder", "_head", "_head_size", "_key", "_shown", "_skipped", "_told", "_told_at",
                 "_untold", "_untold_size")  # fmt: skip

    def __init__(self, folder: Folder | None, task: int, attempt: int) -> None:
        self._folder, self._key = folder, (task, attempt)
        self._file: Text | None = None
        self._head: list[str] = []  # until there is a file
        self._head_size = 0
        self._told = self._skipped = self._shown = 0
        self._told_at = 0.0  # on the clock of perf_counter
        self._untold: deque[Piece] = deque()  # the newest of what no event has told
        self._untold_size = 0

    def take(self, stream: Stream, text: str) -> list[Piece]:
        """Keep a piece.

        Returns:
            What is to be told now.
        """
        if stream == "notice":
            return [(stream, text)]
        self._keep(text)
        room = TOLD_MOST - self._told
        if len(text) <= room:
            self._told += len(text)
            return [(stream, text)]
        told: list[Piece] = []
        if room:
            told, text = [(stream, text[:room])], text[room:]
            self._told, self._told_at = TOLD_MOST, perf_counter()
        self._hold(stream, text)
        if perf_counter() - self._told_at >= SAMPLE_S:
            told += self._newest(SAMPLE)
        return told

    def display(self, bundle: Mapping[str, bytes]) -> tuple[str, int]:
        """Keep what the attempt displays.

        Returns:
            It as text, and its number; 0 where nothing but the text is kept, -1 where it takes back what was shown.
        """
        if not bundle:
            return "", -1
        text = plain_of(bundle)
        self._keep(text)
        if self._folder is None or len(bundle) == 1:  # text alone
            return text, 0
        if self._shown == SHOWN_MOST:
            return text, 0
        try:
            self._folder.show(*self._key, self._shown + 1, dict(bundle))
        except OSError as exc:
            return f"{text.rstrip()} (it cannot be kept: {exc})\n", 0
        self._shown += 1
        return text, self._shown

    def end(self) -> list[Piece]:
        """Nothing follows; what is left to tell."""
        tail = "".join(text for _, text in self._untold)
        told = self._newest(OUTPUT_TAIL) if self._untold else []
        if self._file is not None:
            self._file.end(tail)
            if told:
                told.append(("notice", self._where()))
        return told

    def _where(self) -> str:
        """Where all of it can be read."""
        assert self._file is not None
        if self._file.failed:
            return f"… not all of it could be kept: {self._file.failed} …\n"
        return f"… what it printed is in {self._file.path} …\n"

    def _keep(self, text: str) -> None:
        if self._file is not None:
            self._file.write(text)
            return
        if self._folder is None:
            return
        self._head.append(text)
        self._head_size += len(text)
        if self._head_size > FILE_FROM:
            self._file = self._folder.text(*self._key)
            self._file.write("".join(self._head))
            self._head = []

    def _hold(self, stream: Stream, text: str) -> None:
        if len(text) > OUTPUT_TAIL:
            self._skipped += len(text) - OUTPUT_TAIL
            text = text[-OUTPUT_TAIL:]
        self._untold.append((stream, text))
        self._untold_size += len(text)
        self._trim(OUTPUT_TAIL)

    def _trim(self, most: int) -> None:
        """Let go of the oldest that is untold."""
        while self._untold_size > most:
            stream, text = self._untold.popleft()
            over = min(self._untold_size - most, len(text))
            self._untold_size -= over
            self._skipped += over
            if over < len(text):
                self._untold.appendleft((stream, text[over:]))

    def _newest(self, most: int) -> list[Piece]:
        self._trim(most)
        told: list[Piece] = []
        if self._skipped:
            told.append(("notice", f"\n… {self._skipped:,} characters are left out here …\n"))
        told += self._untold
        self._skipped, self._untold_size, self._told_at = 0, 0, perf_counter()
        self._untold.clear()
        return told
