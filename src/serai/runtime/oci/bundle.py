"""The ``config.json`` of one sandbox, after the OCI runtime specification 1.0.2.

It asks for what the embedded runtime does by itself, from the same tables: namespaces,
capabilities, system call filter, hidden parts of ``/proc``, limits.
"""

import errno
import resource
from typing import Any

from serai.runtime import linux, privileges, rootfs, seccomp, system_calls
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
_WHOLE, _REQUEST = 0xFFFFFFFF, 0xFFFF
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
    """The system call filter of ``serai.runtime.seccomp`` in the OCI's words.

    All comparisons look at 32 bits, as the kernel does with these arguments: who may set others
    would get past a comparison with all 64.
    """
    return {
        "defaultAction": _ERRNO,
        "defaultErrnoRet": errno.ENOSYS,
        "architectures": [_ARCHITECTURES[machine]],
        "syscalls": [
            _allow(list(system_calls.of(system_calls.ALLOWED, machine))),
            _refuse(list(system_calls.of(system_calls.REFUSED, machine)), errno.EPERM),
            # Docker 20.10 does not know the default above and answers EPERM.
            _refuse(list(system_calls.of(system_calls.ABSENT, machine)), errno.ENOSYS),
            *_without("clone", seccomp.NAMESPACES_OF_CLONE),
            *_without("unshare", seccomp.NAMESPACES),
            *_families(),
            *_requests(),
        ],
    }


def _allow(names: list[str], condition: Json | None = None) -> Json:
    return _rule({_CALL: names, "action": _ALLOW}, condition)


def _refuse(names: list[str], number: int, condition: Json | None = None) -> Json:
    return _rule({_CALL: names, "action": _ERRNO, "errnoRet": number}, condition)


def _rule(rule: Json, condition: Json | None) -> Json:
    return rule if condition is None else {**rule, "args": [condition]}


def _masked(argument: int, mask: int, value: int) -> Json:
    """Whether those bits of an argument have that value."""
    return {"index": argument, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}


def _without(call: str, bits: int) -> list[Json]:
    each = [1 << position for position in range(bits.bit_length()) if bits >> position & 1]
    return [
        _allow([call], _masked(0, bits, 0)),
        *(_refuse([call], errno.EPERM, _masked(0, bit, bit)) for bit in each),
    ]


def _families() -> list[Json]:
    calls = ["socket", "socketpair"]
    unknown = [each for each in range(_HIGHEST_FAMILY) if each not in seccomp.FAMILIES]
    return [
        *(_allow(calls, _masked(0, _WHOLE, family)) for family in seccomp.FAMILIES),
        *(_refuse(calls, errno.EAFNOSUPPORT, _masked(0, _WHOLE, each)) for each in unknown),
    ]


def _requests() -> list[Json]:
    """All requests to devices and file systems but those that are not for a sandbox.

    Rules cannot say "but", so those around are listed: by their first bits, as networks are.
    """
    injection = [(number, _REQUEST) for number in seccomp.TERMINAL_INJECTION]
    apart = [*injection, (seccomp.FILE_SYSTEM_REQUESTS, seccomp.REQUEST_FAMILY)]
    around = [_masked(1, mask, value) for value, mask in _around(apart)]
    exact = [_masked(1, _WHOLE, number) for number in seccomp.CLONE_FILES]
    return [
        *(_allow(["ioctl"], condition) for condition in (*around, *exact)),
        *(_refuse(["ioctl"], errno.EPERM, _masked(1, mask, each)) for each, mask in injection),
    ]


def _around(apart: list[tuple[int, int]], value: int = 0, bits: int = 0) -> list[tuple[int, int]]:
    """What covers all 16-bit numbers but some, each as a value and a mask of its first bits.

    Args:
        apart: those numbers, in the same way.
        value: the first bits of what is to be covered.
        bits: how many they are.
    """
    mask = _REQUEST & ~(_REQUEST >> bits)
    inside = [each for each in apart if (each[0] ^ value) & mask & each[1] == 0]
    if not inside:
        return [(value, mask)]
    if any(each & ~mask == 0 for _, each in inside):
        return []
    half = 1 << _REQUEST.bit_length() - 1 - bits
    return [*_around(inside, value, bits + 1), *_around(inside, value | half, bits + 1)]
