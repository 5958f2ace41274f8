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

from serai.runtime import rootfs, storage, trees
from serai.runtime.guest import NEXT, PLACE, inside
from serai.runtime.messages import Birth, Setup

CONFIG = inside.CONFIG
_EVERY_SECONDS = 0.005


def prepare(
    birth: Birth,
    *,
    entry: str,
    owner: int | None,
    inherited: bool,
    by_cgroup: tuple[str, ...],
    by_line: bool = False,
) -> Path:
    """A new run directory that holds what the sandbox API is told.

    Args:
        birth: the sandbox.
        entry, inherited, by_cgroup: see ``inside.Config``.
        owner: host id of root inside, if that is not who we are.
        by_line: see ``inside.Config``; the host's socket is in the directory already then, which
            stays.
    """
    folder = storage.run_directory(birth.api_socket)
    if not by_line:
        trees.remove_tree(folder)
        folder.mkdir(mode=0o700)
    config = inside.Config(
        entry=entry,
        id=birth.id,
        hostname=birth.hostname,
        environment=birth.environment,
        home=birth.home,
        workdir=birth.workdir,
        inherited=inherited,
        limits=birth.limits,
        by_line=by_line,
        token="" if birth.memory else birth.token,
        authority=birth.authority,
        services=birth.services,
        by_cgroup=by_cgroup,
        # What a checkpoint was made with, and by whom, is written down at the start.
        successors="" if by_line else f"{PLACE}/{NEXT}",
    )
    file = folder / CONFIG
    file.touch(mode=0o600)
    file.write_bytes(msgspec.json.encode(config))
    for path in (file, folder):
        rootfs.Owner(owner).give(str(path))
    return folder


def forget_token(folder: Path) -> None:
    """Take the token out of what the sandbox API is told: it has it now."""
    file = folder / CONFIG
    config = msgspec.json.decode(file.read_bytes(), type=inside.Config)
    if config.token:
        file.write_bytes(msgspec.json.encode(msgspec.structs.replace(config, token="")))


def prepare_for(setup: Setup, birth: Birth, *, inherited: bool, by_line: bool = False) -> Path:
    """The same for the sandboxes of a Setup."""
    offered = tuple(name for each in setup.hierarchies for name in each.controllers)
    return prepare(
        birth,
        entry=setup.entry,
        owner=setup.uid_base,
        inherited=inherited,
        by_cgroup=offered,
        by_line=by_line,
    )


def wait_for_sockets(
    folder: Path, birth: Birth, seconds: float, *, ended: Callable[[], bool]
) -> None:
    """Wait until the sandbox API listens, and give its sockets their names.

    Raises:
        OSError: it said why not, ended, or kept silent for too long.
    """
    deadline = time.monotonic() + seconds
    while not are_made(folder, birth):
        if ended():
            raise OSError("the sandbox's first process ended unexpectedly")
        if time.monotonic() > deadline:
            raise OSError(f"the sandbox's first process did not answer in {seconds:.0f} s")
        time.sleep(_EVERY_SECONDS)


def are_made(folder: Path, birth: Birth) -> bool:
    """Whether the sandbox API listens; its sockets then have their names.

    Raises:
        OSError: it said why it will not.
    """
    if (folder / inside.PROBLEM).exists():
        raise OSError((folder / inside.PROBLEM).read_text()[:2000])
    if not (folder / inside.API).exists():
        return False
    take_sockets(folder, birth)
    return True


def take_sockets(folder: Path, birth: Birth) -> None:
    """Give both sockets the names in our directory that everybody connects by."""
    for name, target in ((inside.PORT, birth.port_socket), (inside.API, birth.api_socket)):
        Path(target).unlink(missing_ok=True)
        os.link(folder / name, target, follow_symlinks=False)
        if not stat.S_ISSOCK(os.lstat(target).st_mode):
            Path(target).unlink()
            raise OSError(f"what the sandbox made in {folder} is no socket")
