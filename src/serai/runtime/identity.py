"""Files inside that say who a sandbox is."""

import contextlib
import hashlib
import os

_MACHINE_ID = "/etc/machine-id"


def write(hostname: str, sandbox_id: str) -> None:
    """Say inside who this sandbox is; files that its code wrote itself stay as they are.

    What an earlier life, or the sandbox that this one was forked from, was told is replaced.
    """
    before = _read_small("/etc/hostname").strip()
    ours = _read_small("/etc/hosts") == _hosts(before)
    for path, text in (("/etc/hostname", f"{hostname}\n"), ("/etc/hosts", _hosts(hostname))):
        if ours and before != hostname:
            _remove(path)
        _write_new(path, text)
    machine = hashlib.sha256(f"machine-id {sandbox_id}".encode()).hexdigest()[:32]
    if _read_small(_MACHINE_ID) != f"{machine}\n":
        _remove(_MACHINE_ID)
        _write_new(_MACHINE_ID, f"{machine}\n", 0o444)


def _hosts(hostname: str) -> str:
    return f"127.0.0.1 localhost {hostname}\n::1 localhost ip6-localhost ip6-loopback\n"


def _read_small(path: str) -> str:
    """The beginning of a file; empty when it is none, whatever code made of it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 4096).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _write_new(path: str, text: str, mode: int = 0o644) -> None:
    """Write a file of a new sandbox; one that is there already stays as it is."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    except OSError:
        return
    os.write(descriptor, text.encode())
    os.close(descriptor)
