"""What a step displays: a bundle of mime types, of those that can be shown without trusting who made them.

Made on a worker or in the kernel from what IPython's formatters give; looked at again where it has crossed a boundary.
An empty bundle takes back what was shown so far, as ``clear_output`` does.
"""

import base64
import binascii
import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, overload

from cerebelum_nb.attempt import printable

PLAIN: Final = "text/plain"
HTML: Final = "text/html"
SVG: Final = "image/svg+xml"
PLAIN_LIMIT: Final = 20_000  # characters
HTML_NBYTES: Final = 1 << 20
IMAGE_NBYTES: Final = 4 << 20
MOST_AT_ONCE: Final = 20  # of one attempt, in one cell
NBYTES_AT_ONCE: Final = 16 << 20
_IMAGES: Final[Mapping[str, tuple[bytes, ...]]] = {  # how their bytes begin
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    SVG: (b"",),
}
_ALT: Final = 200  # characters
_FRAME: Final = '<iframe sandbox="" srcdoc="{}" style="border:0;width:100%;height:320px"></iframe>'


class Bundle(dict[str, bytes]):
    """One thing that was displayed, by mime type; a notebook's cell shows it.

    Args:
        framed: HTML of it is shown in a frame that runs nothing, and a drawing as an image.
    """

    def __init__(self, content: Mapping[str, bytes], *, framed: bool = False) -> None:
        super().__init__(content)
        self.framed = framed

    def __repr__(self) -> str:
        return plain_of(self).rstrip("\n")

    def _repr_mimebundle_(self, **_asked: Any) -> dict[str, str]:
        """The same for a notebook."""
        found = for_message(self)
        if self.framed and found.keys() & {HTML, SVG}:
            found.pop(SVG, None)
            return {**found, HTML: self.as_html()}
        if SVG in found:
            found[SVG] = self[SVG].decode("utf-8", "replace")
        return found

    def as_html(self) -> str:
        """The richest of it as HTML, an image within it."""
        for mime in _IMAGES:
            if mime in self:
                text = html.escape(repr(self)[:_ALT])
                return f'<img alt="{text}" src="data:{mime};base64,{base64.b64encode(self[mime]).decode()}">'
        if HTML in self:
            text = self[HTML].decode("utf-8", "replace")
            return _FRAME.format(html.escape(text)) if self.framed else text
        return f"<pre>{html.escape(repr(self))}</pre>"


class Shown(Sequence[Bundle]):
    """What one attempt of a step displayed, in order; a notebook's cell shows all of it.

    Args:
        what: Whose it is, in words.
    """

    def __init__(self, what: str, bundles: Sequence[Bundle]) -> None:
        self._what, self._bundles = what, tuple(bundles)

    @overload
    def __getitem__(self, at: int) -> Bundle: ...
    @overload
    def __getitem__(self, at: slice) -> "Shown": ...
    def __getitem__(self, at: int | slice) -> "Bundle | Shown":
        return Shown(self._what, self._bundles[at]) if isinstance(at, slice) else self._bundles[at]

    def __len__(self) -> int:
        return len(self._bundles)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self._bundles)) or f"{self._what} displayed nothing but text"

    def _repr_mimebundle_(self, **_asked: Any) -> dict[str, str]:
        """The same for a notebook, as far as one cell can bear it."""
        if len(self) == 1:
            return self[0]._repr_mimebundle_()
        some = list(self._that_fit())
        parts = [f"<div>{bundle.as_html()}</div>" for bundle in some]
        if left := len(self) - len(some):
            parts.append(f"<div>and {left} more, from [{len(some)}] on</div>")
        return {PLAIN: repr(self), HTML: "".join(parts)} if parts else {PLAIN: repr(self)}

    def _that_fit(self) -> Iterator[Bundle]:
        nbytes = 0
        for bundle in self._bundles[:MOST_AT_ONCE]:
            nbytes += sum(map(len, bundle.values()))
            if nbytes > NBYTES_AT_ONCE:
                return
            yield bundle


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
    if mime in {HTML, SVG}:
        return printable(value).encode()
    try:
        return base64.b64decode(value)
    except (binascii.Error, ValueError):
        return b""


def _text_of(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)
    text = printable(text)
    return text if len(text) <= PLAIN_LIMIT else f"{text[:PLAIN_LIMIT]}…"
