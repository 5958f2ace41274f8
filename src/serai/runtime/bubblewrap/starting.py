"""Starting one sandbox with bubblewrap, in a fork of the launcher.

As the host's root we mount the files and make the control groups ourselves, and then become the
user that root inside is; bubblewrap maps that one user only. Otherwise it does all of it.
"""

import os
import select
from pathlib import Path

import msgspec

from serai.runtime import cgroups, linux, mounting, privileges, rootfs, seccomp
from serai.runtime.birth import TIMEOUT_SECONDS, Place
from serai.runtime.guest import NEXT, PLACE, RUN, threshold
from serai.runtime.guest.files import join_groups, show_files
from serai.runtime.guest.spawning import PID_FILE, Spawned, spawn, trace_of
from serai.runtime.guest.tree import command
from serai.runtime.messages import Birth, Setup, Trace

_OTHER_HOME = "/home/user"
_INFO_FD, _FILTER_FD = 6, 7


class _Info(msgspec.Struct, rename="kebab"):
    """What bubblewrap says of the process it made."""

    child_pid: int


def start(place: Place, birth: Birth, directory: Path) -> Trace:
    """Start it; see ``serai.runtime.birth.attend``.

    Raises:
        OSError: what failed, with bubblewrap's own words.
    """
    setup = place.setup
    made = [cgroups.create(each, birth.id, birth.limits) for each in setup.hierarchies]
    run = threshold.prepare_for(setup, birth, inherited=True)
    if place.root_outside:
        join_groups(setup, birth)
        linux.unshare(linux.CLONE_NEWNS)
    os.chdir(directory)
    if place.root_outside:
        files = _shown(show_files(place, birth, run))
        # Bubblewrap maps one user; what belongs to another one nobody inside could change.
        _give(_OTHER_HOME, setup.uid_base)
    else:
        files = _overlays(setup, birth, directory, run)
    argv = [setup.program, *_separation(birth), *files, *_proc(), "--", *command()]
    with _run(argv, birth, directory, setup.uid_base) as spawned:
        spawned.wait_until_ready(run, birth, 0)
        return trace_of(place, birth, directory, spawned.first_process(), made)


def _give(path: str, owner: int | None) -> None:
    """Make a directory of the sandbox root's, if it has it: its code chooses what is there."""
    if owner is None:
        return
    top = os.open(rootfs.ROOT, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        place = mounting.walk(top, mounting.names_of(path), None)
    except OSError:
        return
    finally:
        os.close(top)
    os.chown(f"/proc/self/fd/{place}", owner, owner)
    os.close(place)


def _separation(birth: Birth) -> list[str]:
    kept = [word for name in privileges.KEPT_CAPABILITIES for word in ("--cap-add", name)]
    return [
        *("--unshare-all", "--unshare-user", "--uid", "0", "--gid", "0"),
        *("--hostname", birth.hostname, "--new-session", "--as-pid-1", "--cap-drop", "ALL", *kept),
        *("--info-fd", str(_INFO_FD), "--seccomp", str(_FILTER_FD), "--chdir", "/"),
    ]


def _shown(spot: str) -> list[str]:
    place = ["--ro-bind", f"{spot}/tree", PLACE, "--bind", f"{spot}/run", f"{PLACE}/{RUN}"]
    place += ["--ro-bind", f"{spot}/next", f"{PLACE}/{NEXT}"]
    return ["--bind", f"{spot}/rootfs", "/", *place]


def _overlays(setup: Setup, birth: Birth, directory: Path, run: Path) -> list[str]:
    """The layers of ``rootfs.layers``, mounted by bubblewrap."""
    words = []
    for name in rootfs.layer_names(setup, birth.root):
        target = "/" if name == rootfs.ROOT else f"/{name}"
        words += _overlay(directory, name, _lower(setup, birth, name), target)
    if setup.python_prefix and not birth.root:
        words += ["--ro-bind", setup.python_prefix, "/opt/python"]
    words += ["--ro-bind", setup.tree, PLACE, "--bind", str(run), f"{PLACE}/{RUN}"]
    return [*words, "--ro-bind", setup.successors, f"{PLACE}/{NEXT}"]


def _lower(setup: Setup, birth: Birth, name: str) -> list[str]:
    """The layers below a sandbox's own changes, the lowest first."""
    if birth.root:
        lowest = list(reversed(birth.root))
    else:
        lowest = [setup.skeleton if name == rootfs.ROOT else f"/{name}"]
    masks = [birth.masks[name]] if name in birth.masks else []
    saved = [f"{each}/layers/{name}/upper" for each in reversed(birth.saved)]
    return [*lowest, *masks, *(each for each in saved if os.path.isdir(each))]


def _overlay(directory: Path, name: str, lower: list[str], target: str) -> list[str]:
    """Arguments for one overlay; the first of ``lower`` is the lowest."""
    own = directory / "layers" / name
    sources = [word for each in lower for word in ("--overlay-src", each)]
    return [*sources, "--overlay", str(own / "upper"), str(own / "work"), target]


def _proc() -> list[str]:
    """Its own processes and devices; what tells about the kernel is hidden.

    Bubblewrap itself makes what changes the kernel read-only.
    """
    words = ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/sys", "--remount-ro", "/sys"]
    for name in rootfs.PROC_HIDDEN_FILES:
        if os.path.exists(f"/proc/{name}"):
            words += ["--ro-bind", "/dev/null", f"/proc/{name}"]
    for name in rootfs.PROC_HIDDEN_FOLDERS:
        if os.path.isdir(f"/proc/{name}"):
            words += ["--tmpfs", f"/proc/{name}", "--remount-ro", f"/proc/{name}"]
    return words


def _run(argv: list[str], birth: Birth, directory: Path, user: int | None) -> Spawned:
    """Execute bubblewrap, as ``user`` if any, and write down which process it made."""
    heard, says = os.pipe()
    table, written = os.pipe()
    os.write(written, seccomp.program())
    os.close(written)
    spawned = spawn(argv, birth, directory, inherits=True, more=(says, table), user=user)
    with spawned.undone_on_failure():
        if info := _read(heard):
            child = msgspec.json.decode(info, type=_Info).child_pid
            (directory / PID_FILE).write_text(str(child))
    os.close(heard)
    return spawned


def _read(descriptor: int) -> bytes:
    """All that comes until the other end closes."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    said = b""
    while poll.poll(TIMEOUT_SECONDS * 1000):
        part = os.read(descriptor, 4096)
        said += part
        if not part or part.rstrip().endswith(b"}"):
            break
    return said
