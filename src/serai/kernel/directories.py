"""Where the data directory may be."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATH_MAX, NAME_MAX = 3840, 255
"""Bytes of a directory's path, with room for what lies in it, and of each part of one."""


def usable_path(raw: Any) -> Path | None:
    """A path that the system can open; None for what is none."""
    if not isinstance(raw, str | Path) or not str(raw) or "\0" in str(raw):
        return None
    try:
        path = Path(raw).expanduser()
        encoded = os.fsencode(path)
    except (RuntimeError, UnicodeEncodeError):
        return None
    is_short = len(encoded) <= PATH_MAX and all(len(x) <= NAME_MAX for x in encoded.split(b"/"))
    return path if is_short else None


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """``$XDG_DATA_HOME/serai``; a relative value of that variable is ignored, as its spec says."""
    base = Path(environ.get("XDG_DATA_HOME") or "")
    if not base.is_absolute():
        base = Path(environ.get("HOME") or Path.home()) / ".local" / "share"
    return base / "serai"
