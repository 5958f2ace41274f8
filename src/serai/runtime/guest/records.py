"""What belongs to saved files when processes were kept with them."""

from pathlib import Path

import msgspec

RECORD = "memory.json"
"""In the directory of the files."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint needs to be gone on with.

    Attributes:
        version: of the program that wrote it.
        tree: name of the interpreter tree from which its process 1 runs.
        token: by which that process makes itself known, see ``serai.runtime.guest.line``.
    """

    version: str
    tree: str
    token: str


def read_record(directory: Path) -> Record | None:
    """What is known of the checkpoint that belongs to a directory of files."""
    try:
        return msgspec.json.decode((directory / RECORD).read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None
