"""Runs a program of somebody else's that handles files which untrusted code wrote.

It sees a root directory of its own with nothing in it but what it is given, follows no symbolic
links there, and keeps only the rights to read and write files of any owner.
"""

import os
import signal
import subprocess
from pathlib import Path
from typing import IO

import msgspec

from serai.runtime import linux, processes

_KEPT_CAPABILITIES = (0, 1, 3)
"""chown, dac_override, fowner."""
_LAST_CAPABILITY = 63


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A directory or file of the host, and its name in the new root."""

    source: str
    name: str
    read_only: bool = False
    runs: bool = False


class Confined(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: ``command`` begins with ``/`` and the name of something shown.

    ``root`` is an empty directory.
    """

    root: str
    shown: tuple[Shown, ...]
    command: tuple[str, ...]
    environment: dict[str, str]


def start(wanted: Confined, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Start the program; it ends with the thread that called this."""
    text = msgspec.json.encode(wanted).decode()
    return subprocess.Popen(
        processes.python_command(f"from serai.runtime.confined import main;main({text!r})"),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=processes.PLAIN_ENVIRONMENT,
        cwd="/",
        start_new_session=True,
    )


def main(text: str) -> None:
    """Give up everything else and become the program."""
    wanted = msgspec.json.decode(text, type=Confined)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS)
    linux.mount("", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("tmpfs", wanted.root, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "size=1m,mode=755")
    for each in wanted.shown:
        _show(each, f"{wanted.root}/{each.name}")
    os.chdir(wanted.root)
    linux.pivot_root(".", ".")
    linux.unmount(".")
    os.chdir("/")
    _drop()
    os.execve(wanted.command[0], wanted.command, wanted.environment)  # noqa: S606


def _show(shown: Shown, target: str) -> None:
    if os.path.isdir(shown.source):
        os.mkdir(target)
    else:
        Path(target).touch()
    attributes = linux.MOUNT_ATTR_NOSUID | linux.MOUNT_ATTR_NODEV | linux.MOUNT_ATTR_NOSYMFOLLOW
    attributes |= linux.MOUNT_ATTR_RDONLY if shown.read_only else 0
    attributes |= 0 if shown.runs else linux.MOUNT_ATTR_NOEXEC
    mount_fd = linux.clone_mount(shown.source)
    linux.change_mount(mount_fd, attributes)
    linux.attach_mount(mount_fd, target)
    os.close(mount_fd)


def _drop() -> None:
    for number in range(_LAST_CAPABILITY + 1):
        if number not in _KEPT_CAPABILITIES:
            try:
                linux.prctl(linux.PR_CAPBSET_DROP, number)
            except OSError:
                break
    linux.set_capabilities(sum(1 << number for number in _KEPT_CAPABILITIES))
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
