"""The host's side of a sandbox's run directory: what it is told, and the sockets it makes.

Untrusted code inside can change that directory at any time, where it is writable at all. So it
is new for every start, and sockets made in it are given a second name (a hard link) in a
directory of ours, before any such code runs: nobody connects by a name it could replace.
"""

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from serai.runtime import rootfs, storage
from serai.runtime.guest import inside
from serai.runtime.messages import Birth, Setup

_EVERY_SECONDS = 0.005


def prepare(setup: Setup, birth: Birth, *, inherited: bool) -> Path:
    """A new run directory that holds what the sandbox API is told, owned by root inside."""
    folder = storage.run_directory(birth.api_socket)
    storage.remove_tree(folder)
    folder.mkdir(mode=0o700)
    config = inside.Config(
        entry=setup.entry,
        id=birth.id,
        hostname=birth.hostname,
        environment=birth.environment,
        home=birth.home,
        workdir=birth.workdir,
        inherited=inherited,
        limits=birth.limits,
        by_cgroup=tuple(name for each in setup.hierarchies for name in each.controllers),
    )
    file = folder / inside.CONFIG
    file.touch(mode=0o600)
    file.write_bytes(msgspec.json.encode(config))
    owner = rootfs.Owner(setup.uid_base)
    owner.give(str(file))
    owner.give(str(folder))
    return folder


def wait_for_sockets(
    folder: Path, birth: Birth, seconds: float, *, ended: Callable[[], bool]
) -> None:
    """Wait until the sandbox API listens, and give its sockets their names.

    Raises:
        OSError: it said why not, ended, or kept silent for too long.
    """
    deadline = time.monotonic() + seconds
    while not (folder / inside.API).exists():
        if (folder / inside.PROBLEM).exists():
            raise OSError((folder / inside.PROBLEM).read_text()[:2000])
        if ended():
            raise OSError("the sandbox's first process ended unexpectedly")
        if time.monotonic() > deadline:
            raise OSError(f"the sandbox's first process did not answer in {seconds:.0f} s")
        time.sleep(_EVERY_SECONDS)
    take_sockets(folder, birth)


def take_sockets(folder: Path, birth: Birth) -> None:
    """Give both sockets the names in our directory that everybody connects by."""
    for name, target in ((inside.PORT, birth.port_socket), (inside.API, birth.api_socket)):
        Path(target).unlink(missing_ok=True)
        os.link(folder / name, target, follow_symlinks=False)
        if not stat.S_ISSOCK(os.lstat(target).st_mode):
            Path(target).unlink()
            raise OSError(f"what the sandbox made in {folder} is no socket")
