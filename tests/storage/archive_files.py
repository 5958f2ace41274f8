"""Tar archives for tests."""

import io
import tarfile
from typing import Any

Member = tuple[str, Any]


def tar(*members: Member, mode: str = "w") -> bytes:
    """An archive of (name, content) members; a dict as content sets header fields."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
                continue
            for field, value in content.items():
                setattr(info, field, value)
            archive.addfile(info)
    return buffer.getvalue()


def symlink(target: str) -> dict[str, Any]:
    """The header of a symbolic link."""
    return {"type": tarfile.SYMTYPE, "linkname": target}


def hardlink(target: str) -> dict[str, Any]:
    """The header of a hard link."""
    return {"type": tarfile.LNKTYPE, "linkname": target}


def folder() -> dict[str, Any]:
    """The header of a folder."""
    return {"type": tarfile.DIRTYPE, "mode": 0o755}
