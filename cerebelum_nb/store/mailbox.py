"""Answers to approvals that come from another process: small files in the project's folder, each taken once.

The folder is its owner's alone. An answer is written whole or not at all, and names the run and the step that it is
for; the kernel that runs them looks for it twice a second while the step waits.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from cerebelum_nb.protocols import Answer


class Mailbox:
    """The answers of one project.

    Args:
        folder: The project's own; made when the first answer is posted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "answers"

    def post(self, run: str, step: str, answer: Answer) -> Path:
        """Leave an answer; its file is gone when somebody has taken it.

        Raises:
            OSError: It cannot be written.
            ValueError: Its value is not JSON.
        """
        text = json.dumps([answer.approved, answer.value, answer.reason], allow_nan=False)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(run, step)
        half = path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(half, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        half.replace(path)
        return path

    def take(self, run: str, step: str) -> Answer | None:
        """The answer for a step, if there is one; nobody else gets it."""
        path = self._path(run, step)
        try:
            text = path.read_text("utf-8")
            path.unlink()
        except OSError:
            return None
        with contextlib.suppress(ValueError, TypeError):
            said: list[Any] = json.loads(text)
            approved, value, reason = said
            return Answer(approved is True, value, str(reason))
        return None  # not ours

    def _path(self, run: str, step: str) -> Path:
        return self._folder / f"{hashlib.sha256(f'{run} {step}'.encode()).hexdigest()[:32]}.json"
