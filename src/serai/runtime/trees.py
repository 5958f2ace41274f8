"""Removing trees of files that untrusted code wrote."""

import contextlib
import os
import stat
from pathlib import Path


def remove_tree(folder: Path) -> None:
    """Delete a directory with all below it, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        delete_tree(folder)
        folder.rmdir()


def delete_tree(top: Path) -> None:
    """Delete everything below ``top``, however deep, odd or unreadable it is.

    Directories found inside are first moved up to ``top``, so that neither the depth of the
    tree nor the length of its paths matters. Links are never followed.
    """
    while _delete_level(top):
        pass


def _delete_level(top: Path) -> bool:
    """Delete what is in ``top`` now; whether there was anything.

    Btrfs lists what a directory held when it was opened, so it is opened again each time.
    """
    descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        pending = os.listdir(descriptor)
        for name in pending:
            _delete_entry(descriptor, name)
    finally:
        os.close(descriptor)
    return bool(pending)


def _delete_entry(top: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=top)
            return
        os.chmod(name, 0o700, dir_fd=top)
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
        try:
            _flatten(top, folder)
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=top)


def _flatten(top: int, folder: int) -> None:
    with os.scandir(folder) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                os.chmod(entry.name, 0o700, dir_fd=folder)
                target = f"moved-{os.urandom(12).hex()}"
                os.rename(entry.name, target, src_dir_fd=folder, dst_dir_fd=top)
            else:
                os.unlink(entry.name, dir_fd=folder)
