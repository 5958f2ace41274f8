"""Starting one sandbox with an OCI runtime, in a fork of the launcher.

The files are mounted in a mount namespace of this process alone, which the runtime then starts
in: when the sandbox has ended nothing is mounted any more, whoever died in between.
"""

import os
from pathlib import Path

import msgspec

from serai.runtime import cgroups, linux, network, privileges
from serai.runtime.birth import Place
from serai.runtime.guest import threshold
from serai.runtime.guest.files import join_groups, show_files
from serai.runtime.guest.spawning import Spawned, spawn, trace_of
from serai.runtime.messages import Birth, Setup, Trace
from serai.runtime.oci import bundle, groups
from serai.runtime.oci.program import PROGRAMS, Program


def start(place: Place, birth: Birth, directory: Path) -> Trace:
    """Start it, or go on with a checkpoint; see ``serai.runtime.birth.attend``.

    Raises:
        OSError: what failed, with the runtime's own words.
    """
    setup = place.setup
    program = PROGRAMS[Path(setup.program).name]
    by_line = not program.passes_sockets
    made = [cgroups.create(each, birth.id, birth.limits) for each in setup.hierarchies]
    run = threshold.prepare_for(setup, birth, inherited=not by_line, by_line=by_line)
    if not program.limits_by_itself:
        join_groups(setup, birth)
    if place.root_outside:
        linux.unshare(linux.CLONE_NEWNS)
    else:
        privileges.enter_own_namespace(linux.CLONE_NEWNS)
    os.chdir(directory)
    state = groups.state_directory(setup)
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    groups.forget_run(state, birth.id)
    # By a short path, for the sockets that runsc makes there.
    shown = {"state": str(state), **({"image": birth.memory} if birth.memory else {})}
    spot = show_files(place, birth, run, shown)
    if program.needs_plain_cgroups:
        groups.hide_unified(as_root=place.root_outside)
    cgroup = groups.common_path(made)
    connected = _own_network(place, birth) if by_line else ""
    document = bundle.config(setup, birth, spot, cgroup, by_line=by_line, network=connected)
    Path(spot, "config.json").write_bytes(msgspec.json.encode(document))
    with _run(program, setup, birth, directory, spot) as spawned:
        spawned.wait()
        pid = spawned.first_process()
        if not by_line:  # otherwise whoever has the line waits
            spawned.wait_until_ready(run, birth, pid)
        used = groups.everywhere(made)
        has_network = bool(connected) or not by_line
        return trace_of(place, birth, directory, pid, used, has_network=has_network)


def _own_network(place: Place, birth: Birth) -> str:
    """A namespace with interfaces for gVisor's network stack; empty where it gets none.

    This process is in it afterwards, and keeps it until the sandbox has it. ``runsc`` takes any
    namespace for the machine's own in which it sees a certain setting, which newer kernels show
    in all.
    """
    if not (birth.egress and place.root_outside):
        return ""
    linux.unshare(linux.CLONE_NEWNET)
    network.prepare_pair()
    linux.mount("tmpfs", "/proc/sys/net", "tmpfs", options="size=4k")
    return f"/proc/{os.getpid()}/ns/net"


def _run(program: Program, setup: Setup, birth: Birth, directory: Path, spot: str) -> Spawned:
    argv = program.command(
        setup.program,
        state=f"{spot}/state",
        bundle=spot,
        pid_file=str(directory / "pid"),
        sandbox_id=birth.id,
        limited=bool(setup.hierarchies),
        network=bool(birth.egress) and setup.uid_base is not None,
        image=f"{spot}/image" if birth.memory else "",
    )
    return spawn(argv, birth, directory, inherits=program.passes_sockets)
