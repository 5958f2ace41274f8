"""The built files of the console, as the wheel brings them, or ``make console`` makes them."""

import gzip
import mimetypes
from pathlib import Path

import msgspec

FOLDER = Path(__file__).parent / "static"
INDEX = "index.html"
SESSION = "<!--session-->"
"""Where in the page the session is put."""


class Asset(msgspec.Struct, frozen=True):
    """A file, which has the hash of its content in its name."""

    content: bytes
    media_type: str
    packed: bytes
    """The same by gzip."""


class Bundle:
    """All files, read when they are first asked for."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._assets: dict[str, Asset] = {}
        self._names: frozenset[str] = frozenset()
        self._index: tuple[float, str] | None = None

    def index(self) -> str | None:
        """The page; ``None`` when the console was not built."""
        path = self._folder / INDEX
        try:
            changed = path.stat().st_mtime
            if self._index is None or self._index[0] != changed:
                self._index = (changed, path.read_text())
                self._assets.clear()
                self._names = frozenset(each.name for each in (self._folder / "assets").iterdir())
        except OSError:
            return None
        return self._index[1]

    def asset(self, name: str) -> Asset | None:
        """A file by its name."""
        if self.index() is None or name not in self._names:
            return None
        found = self._assets.get(name)
        if found is None:
            content = (self._folder / "assets" / name).read_bytes()
            media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
            packed = gzip.compress(content, 9, mtime=0)
            found = self._assets[name] = Asset(content, media_type, packed)
        return found
