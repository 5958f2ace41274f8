"""What this host allows, found by looking, and said so that its administrator can act."""

import os
from pathlib import Path

from serai.runtime.cgroups import FREEZER
from serai.runtime.messages import Hierarchy
from serai.runtime.port import RuntimeProblem

_MACHINES = ("x86_64", "aarch64")
_RANGE = 65536
_DEFAULT_BASE = 200_000
_WHOLE_MAP = ["0", "0", "4294967295"]


def require_platform() -> None:
    """Refuse what the embedded runtime was not written for.

    Raises:
        RuntimeProblem: naming what is needed.
    """
    system = os.uname()
    if system.sysname != "Linux" or system.machine not in _MACHINES:
        raise RuntimeProblem(
            f"the embedded runtime needs Linux on {' or '.join(_MACHINES)}; this is "
            f"{system.sysname} on {system.machine}"
        )


def is_host_root() -> bool:
    """Root of the machine itself, not of some container's user namespace."""
    return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() == _WHOLE_MAP


def choose_user_range(kept: Path) -> int | None:
    """First host uid of the 65536 that sandboxes use, or None if we may only map ourselves.

    ``/etc/subuid`` may name one for ``serai``; otherwise one that no entry there uses. The
    choice is kept in the file ``kept``, because files on disk belong to those uids.
    """
    if not is_host_root():
        return None
    if kept.exists():
        return int(kept.read_text())
    base = _free_range(_subordinate_ranges())
    draft = kept.with_suffix(".new")
    draft.write_text(f"{base}\n")
    draft.replace(kept)
    return base


def _subordinate_ranges() -> list[tuple[str, int, int]]:
    ranges = []
    for file in ("/etc/subuid", "/etc/subgid"):
        try:
            lines = Path(file).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, numbers = line.partition(":")
            first, _, count = numbers.partition(":")
            if first.isdigit() and count.isdigit():
                ranges.append((name, int(first), int(count)))
    return ranges


def _free_range(ranges: list[tuple[str, int, int]]) -> int:
    for name, first, count in ranges:
        if name == "serai" and count >= _RANGE:
            return first
    base = _DEFAULT_BASE
    for _, first, count in sorted(ranges, key=lambda each: each[1]):
        if first < base + _RANGE and base < first + count:
            base = first + count
    return base


def describe(
    uid_base: int | None, facts: tuple[str, ...], hierarchies: tuple[Hierarchy, ...]
) -> str:
    """One line for people about what separates a sandbox from this host."""
    parts = ["Linux namespaces, seccomp, dropped capabilities"]
    if uid_base is None:
        parts.append("DEGRADED: one user only, because Serai does not run as the host's root")
    else:
        parts.append(f"users mapped to {uid_base}-{uid_base + _RANGE - 1}")
        if "idmap" not in facts:
            parts.append("host files look owned by nobody (no idmapped mounts)")
    offered = {name for each in hierarchies for name in each.controllers}
    limited = sorted(offered - {FREEZER})
    missing = sorted({"cpu", "memory", "pids"} - set(limited))
    if limited:
        parts.append(f"cgroup limits: {', '.join(limited)}")
    if missing:
        weaker = ", only per-process resource limits" if set(missing) - {"cpu"} else ""
        parts.append(f"DEGRADED: no cgroup limit for {', '.join(missing)}{weaker}")
    if FREEZER not in offered:
        parts.append("DEGRADED: standby by stop signals, as no cgroup can be frozen")
    return "; ".join(parts)


def not_started() -> RuntimeProblem:
    """A runtime is used too early."""
    return RuntimeProblem("the embedded runtime was not started: call start() first")


def explain(problem: RuntimeProblem) -> RuntimeProblem:
    """The problem of a failed trial sandbox, with the setting that most likely causes it."""
    return RuntimeProblem(f"sandboxes cannot be started on this host: {problem}. {_likely_cause()}")


def _likely_cause() -> str:
    if _sysctl("user/max_user_namespaces") == "0":
        return "User namespaces are switched off: set sysctl user.max_user_namespaces=65536."
    if os.geteuid() != 0:
        if _sysctl("kernel/unprivileged_userns_clone") == "0":
            return (
                "Unprivileged user namespaces are switched off: set sysctl "
                "kernel.unprivileged_userns_clone=1, or run Serai as root."
            )
        if _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
            return (
                "AppArmor restricts unprivileged user namespaces: set sysctl "
                "kernel.apparmor_restrict_unprivileged_userns=0, or run Serai as root."
            )
    return (
        "Serai needs Linux 5.15 or newer with user namespaces and overlay mounts, and a data "
        "directory on a file system with extended attributes (not overlay or NFS). Inside a "
        "container, give it permission: docker run --privileged with a volume for the data."
    )


def _sysctl(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""
