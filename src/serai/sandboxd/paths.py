"""From a request's path to a file.

A path counts as absolute when its raw form holds ``%2F`` anywhere or when it begins with two
slashes; otherwise it is relative to the working directory. ``/filesystem/%2Ftmp%2Fx`` and
``/filesystem//tmp/x`` are the same file, ``/filesystem/tmp/x`` is not.
"""

import posixpath
import re

import msgspec

from serai.kernel.errors import BadRequest

_SLASHES = re.compile(r"/{2,}")


class Location(msgspec.Struct, frozen=True):
    """A file as the client named it and as the system knows it (absolute, ``..`` resolved)."""

    shown: str
    real: str


class Paths(msgspec.Struct):
    """Resolution against one home and one working directory."""

    home: str
    workdir: str

    def locate(self, rest: str, raw_path: str) -> Location:
        """The file a wildcard names; ``rest`` is decoded and begins with a slash."""
        if "%2F" in raw_path:
            return self.named(rest)
        return self.named("." if rest == "/" else rest[1:])

    def absolute(self, rest: str) -> Location:
        """The file of a tree route: always absolute, whatever its form."""
        return self.named("/" + rest.lstrip("/"))

    def named(self, name: str) -> Location:
        """The file of a plain name, as in ``workingDir``."""
        if "\0" in name:
            raise BadRequest("path must not contain a NUL character")
        shown = self.expand(name)
        real = posixpath.normpath(posixpath.join(self.workdir, shown))
        real = "/" + real.lstrip("/")
        return Location(real if shown in (".", "./") else shown, real)

    def expand(self, name: str) -> str:
        """Empty to ``.``, ``~`` to the home directory, runs of slashes to one."""
        if name.startswith("~"):
            name = self.home + name[1:]
        return _SLASHES.sub("/", name) or "."


def text(name: str) -> str:
    """A file name that may hold undecodable bytes as clean text for JSON."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
