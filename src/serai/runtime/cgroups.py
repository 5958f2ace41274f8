"""Limits and freezing through control groups, version 2 or 1, whichever this host lets us write."""

import errno
import os
import time
from collections.abc import Iterable
from pathlib import Path

from serai.runtime import freezer
from serai.runtime.messages import Hierarchy, Limits
from serai.runtime.port import RuntimeProblem

FREEZER = "freezer"
"""Listed as a controller of the hierarchies whose groups can be frozen."""
_CONTROLLERS = ("memory", "cpu", "pids")
_CPU_PERIOD_US = 100_000
_TCP_SHARE = 4


def create(hierarchy: Hierarchy, sandbox_id: str, limits: Limits) -> Path:
    """Make the sandbox's group (again, if it exists) with its limits on memory and pids."""
    group = Path(hierarchy.parent, sandbox_id)
    group.mkdir(parents=True, exist_ok=True)
    memory = str(limits.memory_mb << 20)
    if "memory" in hierarchy.controllers and hierarchy.unified:
        (group / "memory.max").write_text(memory)
        _write_if_offered(group / "memory.swap.max", "0")
    elif "memory" in hierarchy.controllers:
        (group / "memory.limit_in_bytes").write_text(memory)
        _write_if_offered(group / "memory.memsw.limit_in_bytes", memory)
        # Version 1 counts what waits in TCP sockets apart from all other memory.
        waiting = str((limits.memory_mb << 20) // _TCP_SHARE)
        _write_if_offered(group / "memory.kmem.tcp.limit_in_bytes", waiting)
    if "pids" in hierarchy.controllers:
        (group / "pids.max").write_text(str(limits.processes))
    return group


def limit_cpu(hierarchy: Hierarchy, sandbox_id: str, limits: Limits) -> None:
    """Limit the group's CPU: last of all, or a small sandbox would be slow to set up."""
    if "cpu" not in hierarchy.controllers:
        return
    group = Path(hierarchy.parent, sandbox_id)
    quota = limits.cpu_millis * _CPU_PERIOD_US // 1000
    # What an idle one has not used it may use at once: a first call is not cut into slices.
    if hierarchy.unified:
        (group / "cpu.max").write_text(f"{quota} {_CPU_PERIOD_US}")
        _write_if_offered(group / "cpu.max.burst", str(quota))
        return
    (group / "cpu.cfs_period_us").write_text(str(_CPU_PERIOD_US))
    (group / "cpu.cfs_quota_us").write_text(str(quota))
    _write_if_offered(group / "cpu.cfs_burst_us", str(quota))


def _write_if_offered(file: Path, value: str) -> None:
    try:
        file.write_text(value)
    except OSError:
        return


def discover(name: str) -> list[Hierarchy]:
    """The hierarchies in which we may make groups, each with a parent group ``name``."""
    own = _own_groups()
    found: list[Hierarchy] = []
    for mount_point, kind, options, root in mounts():
        found += _usable(mount_point, kind, options, root, own, name)
    covered: set[str] = set()
    chosen = []
    # Of two that can only be frozen version 1, which a process enters without any delay.
    for hierarchy in sorted(found, key=lambda each: (-len(each.controllers), each.unified)):
        if covered.issuperset(hierarchy.controllers):
            forget([hierarchy])
            continue
        chosen.append(hierarchy)
        covered.update(hierarchy.controllers)
    return chosen


def _own_groups() -> dict[str, str]:
    """Controller name (``""`` for version 2) to the path of our own group."""
    groups = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for controller in names.split(","):
            groups[controller] = path
    return groups


def mounts() -> list[tuple[Path, str, set[str], str]]:
    """Mounted hierarchies: mount point, ``cgroup`` or ``cgroup2``, options, root of the mount."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ", 1)
        kind, _, options = after.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            fields = before.split()
            found.append((Path(fields[4]), kind, set(options.split(",")), fields[3]))
    return found


def _usable(
    mount_point: Path, kind: str, options: set[str], root: str, own: dict[str, str], name: str
) -> list[Hierarchy]:
    unified = kind == "cgroup2"
    wanted = options.intersection((*_CONTROLLERS, FREEZER))
    if not unified and not wanted:
        return []
    path = own.get("" if unified else min(wanted), "/")
    nested = mount_point / os.path.relpath(path, root) if path.startswith(root) else mount_point
    # At the root of version 2 a service manager that ends our service spares the sandboxes.
    for base in (mount_point, nested) if unified else (nested,):
        try:
            return _prepare(base, wanted, name, unified=unified)
        except OSError:
            continue
    return []


def _prepare(base: Path, wanted: set[str], name: str, *, unified: bool) -> list[Hierarchy]:
    if unified:
        wanted = _delegate(base, name)
    (base / name).mkdir(exist_ok=True)
    if unified:
        _enable(base / name, wanted)
        wanted |= {FREEZER} if (base / name / "cgroup.freeze").exists() else set()
    controllers = tuple(sorted(wanted))
    return [Hierarchy(parent=str(base / name), controllers=controllers, unified=unified)]


def _delegate(base: Path, name: str) -> set[str]:
    """Hand the controllers of ``base`` to its children; the ones that worked."""
    available = (base / "cgroup.controllers").read_text().split()
    wanted = set(_CONTROLLERS).intersection(available)
    if wanted <= set((base / "cgroup.subtree_control").read_text().split()):
        return wanted
    try:
        _enable(base, wanted)
    except OSError as error:
        if error.errno != errno.EBUSY or not _may_step_aside(base):
            raise
        _step_aside(base, base / f"{name}-host")
        _enable(base, wanted)
    return wanted


def _may_step_aside(base: Path) -> bool:
    """Whether the group is ours alone: a container's root, or nobody but us in it."""
    if _own_groups().get("") == "/":
        return True
    return {int(pid) for pid in (base / "cgroup.procs").read_text().split()} <= {
        os.getpid(),
        os.getppid(),
    }


def _step_aside(base: Path, leaf: Path) -> None:
    """Move the processes of ``base`` to a leaf: version 2 wants inner groups empty."""
    leaf.mkdir(exist_ok=True)
    for pid in (base / "cgroup.procs").read_text().split():
        try:
            (leaf / "cgroup.procs").write_text(pid)
        except ProcessLookupError:
            continue


def _enable(group: Path, controllers: set[str]) -> None:
    text = " ".join(f"+{controller}" for controller in sorted(controllers))
    (group / "cgroup.subtree_control").write_text(text)


def join(hierarchy: Hierarchy, sandbox_id: str, pid: int) -> None:
    """Version 2: put a process into its group. The kernel takes some milliseconds for it."""
    if hierarchy.unified:
        Path(hierarchy.parent, sandbox_id, "cgroup.procs").write_text(str(pid))


def join_self(hierarchy: Hierarchy, sandbox_id: str) -> None:
    """Version 1: put this very thread into its group, which the kernel does at once."""
    if not hierarchy.unified:
        Path(hierarchy.parent, sandbox_id, "tasks").write_text("0")


def remove(group: Path, timeout: float = 5.0) -> None:
    """Kill what is left in a group and remove it; nothing happens when it is not there.

    Raises:
        OSError: processes in it did not end within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            kill_all(group)
            time.sleep(0.002)
        else:
            return


def remove_all(groups: Iterable[Path]) -> None:
    """Remove several; see ``remove``.

    Raises:
        RuntimeProblem: naming the one that stays.
    """
    for group in groups:
        try:
            remove(group)
        except OSError as error:
            raise RuntimeProblem(f"control group {group} cannot be removed: {error}") from error


def below(hierarchy: Hierarchy) -> list[str]:
    """Names of our groups there: ids of sandboxes."""
    try:
        return [path.name for path in Path(hierarchy.parent).iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []


def kill_all(group: Path) -> None:
    """Kill what is in a group, frozen or not."""
    try:
        for pid in (group / "cgroup.procs").read_text().split():
            os.kill(int(pid), 9)
        freezer.thaw_group(group)
    except (OSError, ValueError):
        return


def forget(hierarchies: Iterable[Hierarchy]) -> None:
    """Remove the parents of our groups where no sandbox is left."""
    for hierarchy in hierarchies:
        try:
            Path(hierarchy.parent).rmdir()
        except OSError:
            continue
