"""Certificates that programs in a sandbox shall trust besides those of its image."""

import os
from pathlib import Path

AUTHORITY_FILE = "/usr/local/share/ca-certificates/serai-egress.crt"
"""Where Debian's ``update-ca-certificates`` looks too, so that it stays trusted."""
BUNDLE_FILE = "/etc/ssl/certs/ca-certificates.crt"
_NEW = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def trust(authority: str, roots: bytes) -> None:
    """Add ``authority`` (PEM) to the image's bundle; runs inside, where all is the sandbox's own.

    An image without any bundle gets one of ``roots``, the authorities of the web.

    What an earlier run of the sandbox made of these files is left alone if it cannot be changed.
    """
    if not authority:
        return
    added = f"\n{authority}".encode()
    try:
        for file in (AUTHORITY_FILE, BUNDLE_FILE):
            Path(file).parent.mkdir(parents=True, exist_ok=True)
        _put(AUTHORITY_FILE, _NEW | os.O_TRUNC, authority.encode())
        if not os.path.exists(BUNDLE_FILE):
            _put(BUNDLE_FILE, _NEW, roots + added)
        elif not _ends_with(BUNDLE_FILE, added):
            _put(BUNDLE_FILE, _NEW | os.O_APPEND, added)
    except OSError:
        return


def _put(path: str, flags: int, data: bytes) -> None:
    descriptor = os.open(path, flags, 0o644)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def _ends_with(path: str, data: bytes) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, len(data), max(0, size - len(data))) == data
    finally:
        os.close(descriptor)
