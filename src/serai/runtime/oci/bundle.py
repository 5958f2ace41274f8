"""The ``config.json`` of one sandbox, after the OCI runtime specification 1.0.2.

It asks for what the embedded runtime does by itself, from the same tables: namespaces,
capabilities, system call filter, hidden parts of ``/proc``, limits.
"""

import errno
import resource
from collections.abc import Mapping
from typing import Any

from serai.runtime import linux, privileges, rootfs, seccomp
from serai.runtime.guest import NEXT, PLACE, RUN
from serai.runtime.guest.tree import command
from serai.runtime.messages import Birth, Setup

Json = dict[str, Any]

_RANGE = 65536
_CPU_PERIOD_US = 100_000
OPEN_FILES = 65536
_PLAIN = ["nosuid", "nodev", "noexec"]
_NAMESPACES = ("mount", "pid", "network", "ipc", "uts", "user")
_ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_HIGHEST_FAMILY = 45
_SHOWN = ["bind", "ro", "nosuid", "nodev"]
_CALL, _ERRNO, _ALLOW = "names", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"


def config(
    setup: Setup,
    birth: Birth,
    spot: str,
    cgroup: str,
    *,
    by_line: bool = False,
    network: str = "",
) -> Json:
    """The whole document.

    Args:
        setup: of the data directory.
        birth: the sandbox.
        spot: directory in which its ``rootfs``, ``tree`` and ``run`` are mounted.
        cgroup: path of its control group in every hierarchy; empty where there is none.
        by_line: whether its run directory is the host's alone, see ``serai.runtime.guest.line``.
        network: path of a network namespace that is there already; empty for a new one.
    """
    return {
        "ociVersion": "1.0.2",
        "hostname": birth.hostname,
        "root": {"path": f"{spot}/rootfs", "readonly": False},
        "process": _process(by_line=by_line),
        "mounts": _mounts(setup, spot, by_line=by_line),
        "linux": {
            "namespaces": _namespaces(cgroup, network),
            "uidMappings": [_mapping(setup.uid_base)],
            "gidMappings": [_mapping(setup.uid_base)],
            "maskedPaths": [f"/proc/{name}" for name in HIDDEN],
            "readonlyPaths": [f"/proc/{name}" for name in rootfs.PROC_READ_ONLY],
            "seccomp": filter_of(linux.machine()),
            **(_limits(setup, birth, cgroup) if cgroup else {}),
        },
    }


HIDDEN = (*rootfs.PROC_HIDDEN_FILES, *rootfs.PROC_HIDDEN_FOLDERS)


def _namespaces(cgroup: str, network: str) -> list[Json]:
    kinds = (*_NAMESPACES, *(("cgroup",) if cgroup else ()))
    paths = {"network": {"path": network}} if network else {}
    return [{"type": kind, **paths.get(kind, {})} for kind in kinds]


def _process(*, by_line: bool) -> Json:
    kept = sorted(privileges.KEPT_CAPABILITIES)
    # A copy made from a checkpoint has another host name, which only its process 1 may set.
    permitted = [*kept, "CAP_SYS_ADMIN"] if by_line else kept
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    return {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": command(),
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        "cwd": "/",
        "capabilities": {"bounding": kept, "effective": kept, "permitted": permitted},
        "noNewPrivileges": True,
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "hard": files, "soft": files},
            {"type": "RLIMIT_CORE", "hard": 0, "soft": 0},
        ],
    }


def _mapping(base: int | None) -> Json:
    if base is None:  # within a namespace of ours, in which we are root and alone
        return {"containerID": 0, "hostID": 0, "size": 1}
    return {"containerID": 0, "hostID": base, "size": _RANGE}


def _mounts(setup: Setup, spot: str, *, by_line: bool) -> list[Json]:
    reachable = ["bind", *_PLAIN, *(["ro"] if by_line else [])]
    terminals = ["newinstance", "ptmxmode=0666", "mode=0620", "nosuid", "noexec"]
    if setup.uid_base is not None:
        terminals.append("gid=5")
    return [
        _mount("/proc", "proc", "proc", _PLAIN),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "mode=755", "size=64k"]),
        _mount("/dev/pts", "devpts", "devpts", terminals),
        _mount("/dev/shm", "tmpfs", "shm", ["nosuid", "nodev", "mode=1777", "size=64m"]),  # noqa: S108
        _mount("/sys", "tmpfs", "tmpfs", ["nosuid", "nodev", "ro", "mode=755", "size=4k"]),
        _mount(PLACE, "bind", f"{spot}/tree", _SHOWN),
        *([] if by_line else [_mount(f"{PLACE}/{NEXT}", "bind", f"{spot}/next", _SHOWN)]),
        _mount(f"{PLACE}/{RUN}", "bind", f"{spot}/run", reachable),
        # gVisor would put a file system of its own, in memory, on an empty /tmp.
        _mount("/tmp", "bind", f"{spot}/rootfs/tmp", ["bind", "nosuid", "nodev"]),  # noqa: S108
    ]


def _mount(destination: str, kind: str, source: str, options: list[str]) -> Json:
    return {"destination": destination, "type": kind, "source": source, "options": options}


def _limits(setup: Setup, birth: Birth, cgroup: str) -> Json:
    """What the host's control groups can limit, and the way to them."""
    offered = {name for each in setup.hierarchies for name in each.controllers}
    quota = birth.limits.cpu_millis * _CPU_PERIOD_US // 1000
    wanted = {
        "memory": {"limit": birth.limits.memory_mb << 20},
        "cpu": {"quota": quota, "period": _CPU_PERIOD_US},
        "pids": {"limit": birth.limits.processes},
    }
    devices = [{"allow": False, "access": "rwm"}]
    resources = {name: limit for name, limit in wanted.items() if name in offered}
    return {"cgroupsPath": cgroup, "resources": {"devices": devices, **resources}}


def filter_of(machine: str) -> Json:
    """The system call filter of ``serai.runtime.seccomp`` in the OCI's words."""
    refused = [name for name, numbers in seccomp.REFUSED.items() if any(numbers)]
    return {
        "defaultAction": _ALLOW,
        "architectures": [_ARCHITECTURES[machine]],
        "syscalls": [
            _refuse(refused, errno.EPERM),
            _refuse(["clone3", *_existing(seccomp.MISSING, machine)], errno.ENOSYS),
            *_any_bit("clone", seccomp.NAMESPACES_OF_CLONE),
            *_any_bit("unshare", seccomp.NAMESPACES),
            *_families(),
            *(
                _refuse(["ioctl"], errno.EPERM, 1, "SCMP_CMP_EQ", request)
                for request in seccomp.TERMINAL_INJECTION
            ),
            *(
                _refuse(
                    ["ioctl"],
                    errno.EPERM,
                    1,
                    "SCMP_CMP_MASKED_EQ",
                    0xFFFF,
                    seccomp.FILE_SYSTEM_REQUESTS | number,
                )
                for number in seccomp.SUBVOLUME_REQUESTS
            ),
        ],
    }


def _existing(calls: Mapping[str, tuple[int | None, ...]], machine: str) -> list[str]:
    """Those of the calls that this architecture has."""
    column = list(_ARCHITECTURES).index(machine)
    return [name for name, numbers in calls.items() if numbers[column] is not None]


def _refuse(
    names: list[str], number: int, argument: int = -1, compare: str = "", *values: int
) -> Json:
    rule: Json = {_CALL: names, "action": _ERRNO, "errnoRet": number}
    if argument >= 0:
        value, second = (*values, 0)[:2]
        rule["args"] = [{"index": argument, "value": value, "valueTwo": second, "op": compare}]
    return rule


def _any_bit(call: str, bits: int) -> list[Json]:
    each = [1 << position for position in range(bits.bit_length()) if bits >> position & 1]
    return [_refuse([call], errno.EPERM, 0, "SCMP_CMP_MASKED_EQ", bit, bit) for bit in each]


def _families() -> list[Json]:
    """One rule for each family: runtimes take two conditions on one argument as alternatives."""
    calls = ["socket", "socketpair"]
    known = [each for each in range(_HIGHEST_FAMILY) if each not in seccomp.FAMILIES]
    return [
        *(_refuse(calls, errno.EAFNOSUPPORT, 0, "SCMP_CMP_EQ", family) for family in known),
        _refuse(calls, errno.EAFNOSUPPORT, 0, "SCMP_CMP_GE", _HIGHEST_FAMILY),
    ]
