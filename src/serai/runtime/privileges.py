"""Taking away: users, capabilities, resource limits, and what may be opened later."""

import contextlib
import os
import resource
import zlib

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
    "CAP_SYS_CHROOT": 18,
    "CAP_AUDIT_WRITE": 29,
    "CAP_SETFCAP": 31,
}
"""What container runtimes leave, without mknod and raw sockets. They count only inside the
sandbox's user namespace."""
_LAST_CAPABILITY = 63
_OPEN_FILES = 65536
_NOBODY = 65534
_QUICK = -20


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


def own_by(sandbox_id: str, base: int) -> None:
    """Let the user namespace made next belong to a host user that only this sandbox has.

    The kernel counts what namespaces use (inotify, locked memory, message queues, signals) for
    their owner. If all belonged to root, one sandbox could use up the share of all others, and
    root's. Nobody ever runs as that user outside, so nobody has power over the namespace.
    """
    linux.prctl(linux.PR_SET_SECUREBITS, linux.SECBIT_NO_SETUID_FIXUP)
    os.seteuid(base + 1 + zlib.crc32(sandbox_id.encode()) % (_NOBODY - 1))


def be_quick() -> None:
    """Go before the programs of the sandbox on its share of the CPU, which stays what it is.

    Only for a process whose CPU is limited by a control group: otherwise it would go before the
    host's programs too.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _QUICK)


def set_apart() -> None:
    """Be another saved user than every program: prlimit(2) asks for all three to be the same.

    Whoever is started from here gets root for all three again, as exec sets the saved user.
    """
    os.setresuid(-1, -1, _NOBODY)


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


def drop(calls: seccomp.Program | None = None) -> None:
    """Keep the few capabilities of a container and forbid ever gaining others.

    ``calls`` is the filter of system calls, when it was made before the fork.
    """
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
    seccomp.install(calls)
