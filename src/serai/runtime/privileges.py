"""Taking away: users, capabilities, resource limits, and what may be opened later."""

import os
import resource

from serai.runtime import linux, seccomp
from serai.runtime.messages import Limits

KEPT_CAPABILITIES = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_FSETID": 4,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_RAW": 13,
    "CAP_SYS_CHROOT": 18,
    "CAP_AUDIT_WRITE": 29,
    "CAP_SETFCAP": 31,
}
"""What container runtimes leave, without mknod. They count only inside the sandbox's user
namespace."""
_LAST_CAPABILITY = 63
_OPEN_FILES = 65536


def map_range(pid: int, base: int, size: int = 65536) -> None:
    """Give the user namespace of ``pid`` users and groups 0..size from host id ``base``."""
    _write(f"/proc/{pid}/uid_map", f"0 {base} {size}\n")
    _write(f"/proc/{pid}/gid_map", f"0 {base} {size}\n")


def enter_own_namespace(flags: int) -> None:
    """Unshare a user namespace (and ``flags``) in which we, and only we, are root."""
    user, group = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWUSER | flags)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"0 {user} 1\n")
    _write("/proc/self/gid_map", f"0 {group} 1\n")


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def become_root_inside(*, many_users: bool) -> None:
    """Be user and group 0 of the sandbox's own user namespace, in no other group."""
    if many_users:
        os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def set_limits(limits: Limits, by_cgroup: set[str]) -> None:
    """Resource limits per process: open files, core dumps, and what no cgroup limits."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if "memory" not in by_cgroup:
        memory = limits.memory_mb << 20
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    if "pids" not in by_cgroup:
        processes = _lower(resource.RLIMIT_NPROC, limits.processes)
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))


def _lower(kind: int, wanted: int) -> int:
    _, hard = resource.getrlimit(kind)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def drop() -> None:
    """Keep the few capabilities of a container and forbid ever gaining others."""
    kept = sum(1 << number for number in KEPT_CAPABILITIES.values())
    for number in range(_LAST_CAPABILITY + 1):
        if not kept >> number & 1:
            try:
                linux.prctl(linux.PR_CAPBSET_DROP, number)
            except OSError:
                break
    linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_CLEAR_ALL)
    linux.set_capabilities(kept)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    seccomp.install()
