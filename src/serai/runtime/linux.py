"""The Linux system calls a sandbox needs that Python 3.11 does not offer, through ctypes.

The C library is loaded when this module is imported, so that nothing is left to load after
a process changed its root. Every failure is an ``OSError`` that names the call.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator

LIBC = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_NOATIME = 1024
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

_PR_SET_NAME = 15
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

SECBIT_NO_SETUID_FIXUP = 4

CAP_SYS_ADMIN = 21

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_UMOUNT_NOFOLLOW = 8
_NR_OPEN_TREE, _NR_MOVE_MOUNT, _NR_MOUNT_SETATTR = 428, 429, 442
_NR_OPENAT2, _RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 437, 2, 0x10
_NR_PROCESS_MADVISE, _MADV_PAGEOUT = 440, 21
_NR_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_CAPABILITY_VERSION_3 = 0x20080522


class _MountAttributes(ctypes.Structure):
    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


def _checked(result: int, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def _syscall(number: int, call: str, *arguments: object) -> int:
    return _checked(LIBC.syscall(ctypes.c_long(number), *arguments), call)


def machine() -> str:
    """The CPU architecture as ``uname -m`` prints it."""
    return os.uname().machine


def unshare(flags: int) -> None:
    """Move this process (for pids: its next children) into new namespaces."""
    _checked(LIBC.unshare(ctypes.c_int(flags)), f"unshare({flags:#x})")


def sync_file_system(path: str | os.PathLike[str]) -> None:
    """Wait until everything written to the file system of a directory is on its disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(LIBC.syncfs(ctypes.c_int(descriptor)), "syncfs")
    finally:
        os.close(descriptor)


def enter_namespace(descriptor: int) -> None:
    """setns(2): move this process into the namespace behind an open file of ``/proc/*/ns``."""
    _checked(LIBC.setns(ctypes.c_int(descriptor), ctypes.c_int(0)), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2); ``kind`` and ``options`` may be empty."""
    result = LIBC.mount(
        source.encode(),
        target.encode(),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        options.encode() or None,
    )
    _checked(result, f"mount {kind or 'bind'} on {target}")


def unmount(target: str) -> None:
    """Detach a mount and all below it."""
    _checked(LIBC.umount2(target.encode(), ctypes.c_int(MNT_DETACH)), f"unmount {target}")


def bind(source: str, target: str, flags: int = 0, *, recursive: bool = False) -> None:
    """Bind ``source`` over ``target`` and, when ``flags`` are given, restrict it to them."""
    mount(source, target, flags=MS_BIND | (MS_REC if recursive else 0))
    if flags:
        mount("", target, flags=MS_BIND | MS_REMOUNT | flags)


def pivot_root(new_root: str, old_root: str) -> None:
    """pivot_root(2)."""
    number = _NR_PIVOT_ROOT[machine()]
    _syscall(number, "pivot_root", new_root.encode(), old_root.encode())


def clone_mount(path: str) -> int:
    """A detached copy of the mount at ``path`` as a descriptor.

    Mounts below it are left out where possible: inside a user namespace that may be refused,
    as it could uncover what they hide.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
    name = f"open_tree {path}"
    try:
        return _syscall(_NR_OPEN_TREE, name, _AT_FDCWD, path.encode(), flags)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return _syscall(_NR_OPEN_TREE, name, _AT_FDCWD, path.encode(), flags | _AT_RECURSIVE)


def change_mount(mount_fd: int, attributes: int, user_namespace: int | None = None) -> None:
    """Set attributes of a detached mount; with ``user_namespace`` also map its owners."""
    wanted = _MountAttributes(attr_set=attributes)
    if user_namespace is not None:
        wanted.attr_set |= MOUNT_ATTR_IDMAP
        wanted.userns_fd = user_namespace
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    _syscall(
        _NR_MOUNT_SETATTR,
        "mount_setattr",
        mount_fd,
        b"",
        _AT_EMPTY_PATH,
        ctypes.byref(wanted),
        size,
    )


def attach_mount(mount_fd: int, target: str) -> None:
    """Put a detached mount at ``target`` in this mount namespace."""
    _syscall(
        _NR_MOVE_MOUNT,
        f"move_mount {target}",
        mount_fd,
        b"",
        _AT_FDCWD,
        target.encode(),
        _MOVE_MOUNT_F_EMPTY_PATH,
    )


def clone_mount_of(directory: int) -> int:
    """A detached mount whose root is an opened directory."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH
    return _syscall(_NR_OPEN_TREE, "open_tree", directory, b"", flags)


def attach_mount_to(mount_fd: int, directory: int) -> None:
    """Put a detached mount on an opened directory of this mount namespace."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    _syscall(_NR_MOVE_MOUNT, "move_mount", mount_fd, b"", directory, b"", flags)


def unmount_unused(name: str) -> None:
    """Unmount what is mounted on this very entry of the current directory.

    Raises:
        OSError: ``EBUSY`` as long as somebody uses it.
    """
    _checked(LIBC.umount2(name.encode(), ctypes.c_int(_UMOUNT_NOFOLLOW)), f"unmount {name}")


def enter(namespace: int, kind: int) -> None:
    """setns(2)."""
    _checked(LIBC.setns(ctypes.c_int(namespace), ctypes.c_int(kind)), "setns")


def page_out(pid_fd: int, start: int, size: int) -> None:
    """Have a part of a process's memory written to swap: process_madvise(2) with MADV_PAGEOUT."""
    part = struct.pack("@PN", start, size)
    one, flags = ctypes.c_size_t(1), ctypes.c_uint(0)
    _syscall(_NR_PROCESS_MADVISE, "process_madvise", pid_fd, part, one, _MADV_PAGEOUT, flags)


def prctl(option: int, *arguments: object) -> int:
    """prctl(2) with unsigned long arguments (or pointers)."""
    values = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    values += [ctypes.c_ulong(0)] * (4 - len(values))
    return _checked(LIBC.prctl(ctypes.c_int(option), *values), f"prctl({option})")


def set_title(title: str) -> None:
    """Replace this process's command line, as others see it, and its short name.

    The old one holds paths of the host, and everyone inside a sandbox may read it. A last
    byte that is not zero tells the kernel that the text ends at its first zero.
    """
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    size = end - start
    ctypes.memmove(start, title.encode()[: size - 2].ljust(size - 1, b"\0") + b".", size)
    prctl(_PR_SET_NAME, title.encode())


def set_capabilities(mask: int, spare: int = 0) -> None:
    """Make ``mask`` this thread's effective set, which may add ``spare``; none is inherited."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    sets = mask, mask | spare, 0
    words = [each >> shift & 0xFFFFFFFF for shift in (0, 32) for each in sets]
    data = struct.pack("=6I", *words)
    _checked(LIBC.capset(header, data), "capset")


@contextlib.contextmanager
def capability(number: int) -> Iterator[None]:
    """Use a capability of this thread that is permitted and otherwise at rest."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    before = ctypes.create_string_buffer(24)
    _checked(LIBC.capget(header, before), "capget")
    words = list(struct.unpack("=6I", before.raw))
    words[3 * (number // 32)] |= 1 << number % 32
    _checked(LIBC.capset(header, struct.pack("=6I", *words)), "capset")
    try:
        yield
    finally:
        _checked(LIBC.capset(header, before.raw), "capset")


def open_inside(root: int, path: str, flags: int) -> int:
    """Open ``path`` as if the directory ``root`` were ``/``; openat2 with RESOLVE_IN_ROOT."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    return _syscall(
        _NR_OPENAT2, f"openat2 {path}", root, os.fsencode(path), how, ctypes.c_size_t(len(how))
    )


def raise_loopback() -> None:
    """Bring ``lo`` up in this network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(control, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
