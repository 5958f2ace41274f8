"""Certificates that programs in a sandbox shall trust besides those of its image."""

import os
import stat
from pathlib import Path

AUTHORITY_FILE = "/usr/local/share/ca-certificates/serai-egress.crt"
"""Where Debian's ``update-ca-certificates`` looks too, so that it stays trusted."""
BUNDLE_FILE = "/etc/ssl/certs/ca-certificates.crt"
_MOST_BYTES = 8 << 20


def trust(authority: str, roots: bytes) -> None:
    """Add ``authority`` (PEM) to the image's bundle; runs inside, where all is the sandbox's own.

    An image without any bundle gets one of ``roots``, the authorities of the web. What an
    earlier run of the sandbox made of these files is left alone if it cannot be changed.
    """
    if not authority:
        return
    added = f"\n{authority}".encode()
    try:
        for file in (AUTHORITY_FILE, BUNDLE_FILE):
            Path(file).parent.mkdir(parents=True, exist_ok=True)
        known = _read(BUNDLE_FILE)
        if known is None or not known.endswith(added):
            _replace(AUTHORITY_FILE, authority.encode())
            _replace(BUNDLE_FILE, (roots if known is None else known) + added)
    except OSError:
        return


def _read(path: str) -> bytes | None:
    """The file; ``None`` for none. Whatever it became, reading it does not wait.

    What is read is copied to where all may read it, and the process that reads is not yet confined:
    a link to ``/proc``, where it finds its own memory map and open files, counts as no file.
    """
    try:
        # By its real name, so that a link to one of our descriptors is no more than its text.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(os.path.realpath(path), flags)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_dev == os.stat("/proc").st_dev:
            return None
        return file.read(_MOST_BYTES)


def _replace(path: str, data: bytes) -> None:
    """A new file in its place: to change one of the image would copy it up, and sync the disk."""
    draft = f"{path}.serai"
    Path(draft).unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    os.replace(draft, path)
