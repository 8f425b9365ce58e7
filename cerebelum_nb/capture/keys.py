"""Keys and passwords among what a step closes over: they must not travel unseen with a function. A guard rail only."""

import re
from collections.abc import Iterator
from typing import Any, Final

_KEY: Final = re.compile(
    r"(?:sk|pk|rk)[-_](?:live|test|proj|ant|or)[-_][\w-]{12,}|sk-[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|gh[pousr]_\w{30,}"
    r"|github_pat_\w{30,}|glpat-[\w-]{15,}|xox[abprs]-[\w-]{10,}|AIza[\w-]{30,}|hf_[A-Za-z0-9]{20,}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_NAME: Final = re.compile(
    r"(?:^|_)(?:api_?key|secret(?:_?key)?|access_?key|private_?key|passw(?:or)?d|passwd|auth_?token|access_?token)(?:$|_)",
    re.IGNORECASE,
)
_LONG: Final = 100_000  # characters; a longer text is data


def looks_secret(name: str, value: Any) -> str | None:
    """Where in a captured variable something stands that looks like a key: ``name`` or ``name['key']``; None if not."""
    return next((where for where, key, text in _texts(name, value) if _is_secret(key, text)), None)


def _texts(name: str, value: Any) -> Iterator[tuple[str, str, str]]:
    if type(value) is str:
        yield name, name, value
    elif type(value) is dict and len(value) <= 1000:
        for key, item in list(value.items()):
            if type(key) is str and type(item) is str:
                yield f"{name}[{key!r}]", key, item


def _is_secret(name: str, text: str) -> bool:
    if len(text) > _LONG:
        return False
    if _KEY.search(text):
        return True
    return len(text) >= 8 and not any(map(str.isspace, text)) and _NAME.search(name) is not None
