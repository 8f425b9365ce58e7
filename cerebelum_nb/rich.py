"""What a step displays: a bundle of mime types, of those that can be shown without trusting who made them.

Made on a worker or in the kernel from what IPython's formatters give; looked at again where it has crossed a boundary.
An empty bundle takes back what was shown so far, as ``clear_output`` does.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from cerebelum_nb.attempt import printable

PLAIN: Final = "text/plain"
HTML: Final = "text/html"
PLAIN_LIMIT: Final = 20_000  # characters
HTML_NBYTES: Final = 1 << 20
IMAGE_NBYTES: Final = 4 << 20
_IMAGES: Final[Mapping[str, tuple[bytes, ...]]] = {  # how their bytes begin
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/svg+xml": (b"",),
}


def bundle_of(data: Mapping[str, Any]) -> dict[str, bytes]:
    """What formatters gave, as bytes: text always, of the rest what is known, sound and not too large.

    Args:
        data: Mime type to text, to bytes, or to base64 for an image.
    """
    found, refused = {}, []
    for mime, value in data.items():
        if mime == PLAIN or (mime != HTML and mime not in _IMAGES):
            continue
        content = _bytes_of(mime, value)
        limit = HTML_NBYTES if mime == HTML else IMAGE_NBYTES
        if len(content) > limit:
            refused.append(f"{mime} of {len(content) / 2**20:.1f} MiB, more than the {limit >> 20} that are shown")
        elif mime == HTML or content.startswith(_IMAGES[mime]):
            found[mime] = content
    plain = _text_of(data.get(PLAIN, ""))
    if refused:
        plain = f"{plain} ({'; '.join(refused)})"
    return {PLAIN: plain.encode(), **found}


def checked(bundle: Mapping[str, bytes]) -> dict[str, bytes]:
    """A bundle that somebody else has made, without what must not be shown; nothing for one that takes back."""
    return bundle_of(bundle) if bundle else {}


def plain_of(bundle: Mapping[str, bytes]) -> str:
    """A bundle as a line of text."""
    text = bundle.get(PLAIN, b"").decode("utf-8", "replace")
    return f"{text}\n" if text else "<an output without text>\n"


def for_message(bundle: Mapping[str, bytes]) -> dict[str, str]:
    """A bundle as the front end takes it: text, and images as base64."""
    return {
        mime: base64.b64encode(content).decode() if mime in _IMAGES else content.decode("utf-8", "replace")
        for mime, content in bundle.items()
    }


def _bytes_of(mime: str, value: Any) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if not isinstance(value, str):
        return b""
    if mime in {HTML, "image/svg+xml"}:
        return printable(value).encode()
    try:
        return base64.b64decode(value)
    except (binascii.Error, ValueError):
        return b""


def _text_of(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)
    text = printable(text)
    return text if len(text) <= PLAIN_LIMIT else f"{text[:PLAIN_LIMIT]}…"
