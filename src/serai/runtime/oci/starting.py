"""Starting one sandbox with an OCI runtime, in a fork of the launcher.

The files are mounted in a mount namespace of this process alone, which the runtime then starts
in: when the sandbox has ended nothing is mounted any more, whoever died in between.
"""

import os
from pathlib import Path

import msgspec

from serai.runtime import birth as births
from serai.runtime import cgroups, linux, privileges, rootfs
from serai.runtime.birth import Place
from serai.runtime.guest import PLACE, threshold
from serai.runtime.guest.spawning import Spawned, spawn, trace_of
from serai.runtime.messages import Birth, Setup, Trace
from serai.runtime.oci import bundle, groups
from serai.runtime.oci.program import PROGRAMS, Program

_SPOTS = ("/mnt", "/media", "/srv", "/opt")
"""Directories that every Linux has and that no sandbox gets its files from."""


def start(place: Place, birth: Birth, directory: Path) -> Trace:
    """Start it; see ``serai.runtime.birth.attend``.

    Raises:
        OSError: what failed, with the runtime's own words.
    """
    setup = place.setup
    program = PROGRAMS[Path(setup.program).name]
    made = [cgroups.create(each, birth.id, birth.limits) for each in setup.hierarchies]
    run = threshold.prepare(setup, birth, inherited=program.passes_sockets)
    if not program.limits_by_itself:
        join_groups(setup, birth)
    if place.root_outside:
        linux.unshare(linux.CLONE_NEWNS)
    else:
        privileges.enter_own_namespace(linux.CLONE_NEWNS)
    os.chdir(directory)
    state = directory.parent.parent / "oci" / program.name
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    groups.forget_run(state, birth.id)
    spot = show_files(place, birth, run, state)
    if program.needs_plain_cgroups:
        groups.hide_unified()
    cgroup = groups.common_path(made)
    document = bundle.config(setup, birth, spot, cgroup)
    Path(spot, "config.json").write_bytes(msgspec.json.encode(document))
    with _run(program, setup, birth, directory, spot) as spawned:
        spawned.wait()
        pid = spawned.first_process()
        spawned.wait_until_ready(run, birth, pid)
        used = groups.of_process(pid) if program.limits_by_itself else made
        return trace_of(place, birth, directory, pid, used)


def join_groups(setup: Setup, birth: Birth) -> None:
    """Put this process, and what it will execute, under the sandbox's limits."""
    for hierarchy in setup.hierarchies:
        cgroups.join_self(hierarchy, birth.id)
        cgroups.join(hierarchy, birth.id, os.getpid())
        cgroups.limit_cpu(hierarchy, birth.id, birth.limits)


def show_files(place: Place, birth: Birth, run: Path, state: Path) -> str:
    """Mount what the sandbox sees below a directory that root inside may reach; its path.

    It has ``rootfs``, the interpreter ``tree``, ``run``, the run directory, and ``state``, the
    program's own, because paths of sockets that runsc makes there have to be short.
    """
    user_xattr = not place.root_outside
    rootfs.layers(place.setup, birth.masks, place.map_fd, user_xattr=user_xattr)
    here = f"{rootfs.ROOT}{PLACE}"
    if not os.path.lexists(here):
        os.mkdir(here, 0o755)
        rootfs.Owner(place.setup.uid_base).give(here)
    for path in (here, *(f"{rootfs.ROOT}/{name}" for name in ("proc", "dev", "sys"))):
        rootfs.require_directory(path)
    spot = _spot(Path.cwd())
    linux.mount("tmpfs", spot, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
    shown = {"rootfs": rootfs.ROOT, "tree": place.setup.tree, "run": str(run), "state": str(state)}
    for name, source in shown.items():
        os.mkdir(f"{spot}/{name}")
        linux.bind(source, f"{spot}/{name}", recursive=True)
    return spot


def _spot(directory: Path) -> str:
    real = Path(os.path.realpath(directory))
    for spot in _SPOTS:
        if os.path.isdir(spot) and not real.is_relative_to(spot):
            return spot
    raise OSError(f"none of {', '.join(_SPOTS)} is a directory that could be mounted over")


def _run(
    program: Program, setup: Setup, birth: Birth, directory: Path, spot: str
) -> Spawned:
    argv = program.command(
        setup.program,
        state=f"{spot}/state",
        bundle=spot,
        pid_file=str(directory / "pid"),
        sandbox_id=birth.id,
        limited=bool(setup.hierarchies),
    )
    return spawn(argv, birth, directory, inherits=program.passes_sockets)
