"""The model's name in a form (``multipart/form-data``, RFC 7578), replaced while the form passes.

Forms carry files of any size, so nothing is held but the headers of a part and what may be the
beginning of a boundary. What is no well-formed form passes as it is: its server may know what to
make of it.
"""

import re
from collections.abc import Iterator

_LONGEST_HEAD = 16 * 1024
"""What comes after a boundary and is longer is not the headers of a part."""
_LONGEST_PADDING = 64
_KIND = re.compile(
    rb'multipart/form-data\s*;(?:.*;)?\s*boundary\s*=\s*(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.I
)
_DISPOSITION = re.compile(rb"^content-disposition\s*:\s*form-data\s*(;.*)$", re.I | re.M)
_MODEL = re.compile(rb';\s*name\s*=\s*(?:"model"|model)\s*(?:;|$)', re.I)
_FILE = re.compile(rb";\s*filename\*?\s*=", re.I)


def boundary_of(kind: bytes) -> bytes | None:
    """The boundary that a ``Content-Type`` names, if it is that of a form."""
    found = _KIND.match(kind.strip())
    return (found[1] or found[2]) if found else None


def rewrite_form(body: bytes, boundary: bytes, model: str) -> bytes:
    """A whole form with another value in its field ``model``."""
    rewriter = FormRewriter(boundary, model)
    return rewriter.feed(body) + rewriter.end()


class FormRewriter:
    """Passes a form on in pieces, with another value in its field ``model``.

    Args:
        boundary: of the form.
        model: the new value.
    """

    __slots__ = ("_at", "_delimiter", "_drops", "_held", "_model", "_skip", "_step")

    def __init__(self, boundary: bytes, model: str) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._model = model.encode()
        self._held = b"\r\n"
        """As if the first boundary, too, followed a line."""
        self._at = 0
        self._skip = len(self._held)
        self._drops = False
        """What passes is the old value."""
        self._step = self._content

    def feed(self, data: bytes) -> bytes:
        """A piece of the form; returns what can go on."""
        self._held = self._held[self._at :] + data
        self._at = 0
        return self._cut(b"".join(self._pieces()))

    def end(self) -> bytes:
        """The form is complete; returns what was held of it."""
        rest = self._take(len(self._held))
        return b"" if self._drops else self._cut(rest)

    def _cut(self, passed: bytes) -> bytes:
        skipped = min(self._skip, len(passed))
        self._skip -= skipped
        return passed[skipped:]

    def _pieces(self) -> Iterator[bytes]:
        while (piece := self._step()) is not None:
            yield piece

    def _take(self, end: int) -> bytes:
        taken = self._held[self._at : end]
        self._at = end
        return taken

    # -- steps: what passes now, or None when more must come first
    def _content(self) -> bytes | None:
        end = self._held.find(self._delimiter, self._at)
        if end >= 0:
            self._step = self._boundary
        else:
            end = len(self._held) - len(self._delimiter) + 1
            if end <= self._at:
                return None
        passed = self._take(end)
        return b"" if self._drops else passed

    def _boundary(self) -> bytes | None:
        """A delimiter stands here, if what follows it says so."""
        start = self._at + len(self._delimiter)
        follows = self._held[start : start + _LONGEST_PADDING + 2]
        blanks = len(follows) - len(follows.lstrip(b" \t"))
        line = follows[blanks : blanks + 2]
        if len(line) < 2 and blanks <= _LONGEST_PADDING:
            return None
        if line == b"\r\n":
            self._step, self._drops = self._head, False
            return self._take(start + blanks)
        if follows[:2] == b"--":
            self._step, self._drops = self._rest, False
            return b""
        self._step = self._content
        passed = self._take(start)
        return b"" if self._drops else passed

    def _head(self) -> bytes | None:
        """The headers of a part; before them stands the end of the boundary's line."""
        end = self._held.find(b"\r\n\r\n", self._at, self._at + _LONGEST_HEAD)
        if end < 0:
            if len(self._held) - self._at < _LONGEST_HEAD:
                return None
            self._step = self._rest
            return b""
        self._step = self._content
        head = self._take(end + 4)
        self._drops = _names_model(head)
        return head + self._model if self._drops else head

    def _rest(self) -> bytes | None:
        return self._take(len(self._held)) if self._at < len(self._held) else None


def _names_model(head: bytes) -> bool:
    """Whether these are the headers of the field ``model``, which is no file."""
    found = _DISPOSITION.search(head.replace(b"\r\n", b"\n"))
    return found is not None and bool(_MODEL.search(found[1])) and not _FILE.search(found[1])
