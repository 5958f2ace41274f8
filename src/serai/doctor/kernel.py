"""What the kernel allows: the parts that isolation and standby are made of."""

import os
from collections.abc import Iterator
from pathlib import Path

from serai.doctor.findings import Finding, Place, finding
from serai.doctor.trials import attempt
from serai.runtime import cgroups, host

_GROUP = "Kernel"
_CONTROLLERS = ("memory", "cpu", "pids")


def root(_: Place) -> Iterator[Finding]:
    """Whether sandboxes can have users and limits of their own."""
    is_root = host.is_host_root()
    who = "root of this machine" if is_root else f"user {os.geteuid()}"
    if os.geteuid() == 0 and not is_root:
        who = "root of a user namespace only, not of this machine"
    problem = "" if is_root else f"{who}: sandboxes share one user, and most limits are missing"
    yield finding(_GROUP, "root", problem, who, "sudo serai up", weaker=True)


def user_namespaces(_: Place) -> Iterator[Finding]:
    """Whether we may make user namespaces."""
    problem = attempt("user namespace")
    fix = "sysctl -w user.max_user_namespaces=65536"
    if os.geteuid() != 0:
        fix += " kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0"
        fix += "   (the last two where they exist)"
    yield finding(_GROUP, "user namespaces", problem, "can be made", fix)


def control_groups(_: Place) -> Iterator[Finding]:
    """Which limits there are, by which version."""
    offered: dict[str, str] = {}
    for mount_point, kind, options, _root in cgroups.mounts():
        if kind == "cgroup":
            names, version = options, "v1"
        else:
            names, version = set(_words(mount_point / "cgroup.controllers")), "v2"
        for name in names.intersection(_CONTROLLERS):
            if os.access(mount_point, os.W_OK):
                offered.setdefault(name, version)
    missing = [name for name in _CONTROLLERS if name not in offered]
    shown = ", ".join(f"{name} {version}" for name, version in sorted(offered.items()))
    problem = f"no limit for {', '.join(missing)}" if missing else ""
    fix = "run Serai as root, or have systemd delegate: systemd-run --user --scope -p Delegate=yes"
    yield finding(_GROUP, "control groups", problem, shown, fix, weaker=True)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def freezer(_: Place) -> Iterator[Finding]:
    """Whether sandboxes can stand by."""
    problem = "no hierarchy of control groups can freeze"
    for mount_point, kind, options, _root in cgroups.mounts():
        if kind == "cgroup2":
            problem = attempt("freezer", str(mount_point), "cgroup.freeze", "1", "0", "1")
        elif "freezer" in options:
            words = ("freezer.state", "FROZEN", "THAWED", "FROZEN")
            problem = attempt("freezer", str(mount_point), *words)
        if not problem:
            break
    fix = "run Serai as root, on a host with control groups version 2 or the v1 freezer"
    yield finding(_GROUP, "freezer", problem, "a process was frozen and thawed", fix, weaker=True)


def mounts(place: Place) -> Iterator[Finding]:
    """Overlays on the data directory's file system, and mounts with mapped owners."""
    problem = attempt("overlay", str(place.scratch))
    fix = "put the data directory on ext4, xfs or btrfs: serai up --data-dir DIR"
    yield finding(_GROUP, "overlay mounts", problem, "written through one", fix)
    if host.is_host_root():
        problem = attempt("mapped mounts")
        fix = "Linux 5.12 or newer, with /usr on ext4, xfs or btrfs"
        yield finding(_GROUP, "idmapped mounts", problem, "work on /usr", fix, weaker=True)


def tunnels(_: Place) -> Iterator[Finding]:
    """Whether sandboxes can have the interface of a tunnel."""
    problem = attempt("tunnel")
    fix = "modprobe tun, and run Serai as root"
    yield finding(_GROUP, "tunnels", problem, "an interface was made", fix, weaker=True)


def system_calls(_: Place) -> Iterator[Finding]:
    """Whether system calls can be filtered."""
    problem = attempt("filter")
    fix = "a kernel with CONFIG_SECCOMP_FILTER"
    yield finding(_GROUP, "seccomp", problem, "a filter refused a call", fix)
