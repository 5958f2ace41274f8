"""The system call filter of a sandbox, as classic BPF.

Most of what it refuses also needs a capability that a sandbox does not have; the filter is
there for the day when one of those checks in the kernel is wrong. Three rules matter on their
own: no new user namespaces (they hand out capabilities again), no AF_VSOCK (a network
namespace does not contain it) and no 32-bit calls (they would pass by the numbers below).
"""

import ctypes
import errno
import struct

from serai.runtime import linux

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000

REFUSED: dict[str, tuple[int | None, int | None]] = {
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "setns": (308, 268),
    "bpf": (321, 280),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, None),
    "query_module": (178, None),
    "get_kernel_syms": (177, None),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "open_by_handle_at": (304, 265),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "fanotify_init": (300, 262),
    "iopl": (172, None),
    "ioperm": (173, None),
    "uselib": (134, None),
    "sysfs": (139, None),
    "_sysctl": (156, None),
}
_NEWEST = 469
"""The last system call that this table was checked against (Linux 6.18); newer ones do not exist
for a sandbox, and programs fall back on older ones."""
MISSING = {"io_setup": (206, 0)}
"""Old asynchronous I/O: its requests are counted for the whole machine, so that one sandbox could
use up what databases elsewhere need. Programs do without."""
_UNSHARE, _CLONE, _CLONE3 = (272, 97), (56, 220), (435, 435)
_SOCKET, _SOCKETPAIR, _IOCTL = (41, 198), (53, 199), (16, 29)
FAMILIES = (0, 1, 2, 10, 16)
"""unspecified, Unix, IPv4, IPv6, netlink; everything else is not for a sandbox."""
TERMINAL_INJECTION = (0x5412, 0x541C)
"""TIOCSTI, TIOCLINUX."""
FILE_SYSTEM_REQUESTS, REQUEST_FAMILY = 0x9400, 0xFF00
"""Btrfs takes requests of this family from everyone; a new subvolume would have no limit."""
CLONE_FILES = (0x40049409, 0x4020940D, 0xC0189436)
"""FICLONE, FICLONERANGE and FIDEDUPERANGE, which are of that family by history alone."""
SUBVOLUME_REQUESTS = (1, 14, 23, 24)
"""Numbers in that family that make subvolumes and snapshots: what must be refused at least."""
NAMESPACES = 0x7E020080
"""All CLONE_NEW* bits, time namespaces included."""
NAMESPACES_OF_CLONE = 0x7E020000
"""The same without CLONE_NEWTIME, whose bit is part of the exit signal in clone(2)."""

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP_EQUAL, _JUMP_ABOVE, _JUMP_ANY_BIT = 0x15, 0x35, 0x45
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_MODE_FILTER = 2

Instruction = tuple[int, int, int, int]


class _Instruction(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    ]


class Program(ctypes.Structure):
    """A filter as the kernel takes it."""

    _fields_ = [("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction))]


def _fail(number: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | number)


def _only(call: int, body: list[Instruction]) -> list[Instruction]:
    """Run ``body`` (which must return) for one system call number, else go on."""
    return [(_JUMP_EQUAL, 0, len(body), call), *body]


def _refused_bits(call: int, bits: int) -> list[Instruction]:
    return _only(
        call,
        [
            (_LOAD, 0, 0, _ARGUMENTS_AT),
            (_JUMP_ANY_BIT, 0, 1, bits),
            _fail(errno.EPERM),
            (_RETURN, 0, 0, _ALLOW),
        ],
    )


def _families(call: int) -> list[Instruction]:
    checks = [
        (_JUMP_EQUAL, len(FAMILIES) - index, 0, family) for index, family in enumerate(FAMILIES)
    ]
    ending = [_fail(errno.EAFNOSUPPORT), (_RETURN, 0, 0, _ALLOW)]
    return _only(call, [(_LOAD, 0, 0, _ARGUMENTS_AT), *checks, *ending])


def _requests(call: int) -> list[Instruction]:
    request = _ARGUMENTS_AT + 8
    checks: list[Instruction] = []
    for number in TERMINAL_INJECTION:
        checks += [(_JUMP_EQUAL, 0, 1, number), _fail(errno.EPERM)]
    for number in CLONE_FILES:
        checks += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    checks.append((_AND, 0, 0, REQUEST_FAMILY))
    checks += [(_JUMP_EQUAL, 0, 1, FILE_SYSTEM_REQUESTS), _fail(errno.EPERM)]
    return _only(call, [(_LOAD, 0, 0, request), *checks, (_RETURN, 0, 0, _ALLOW)])


def instructions(machine: str) -> list[Instruction]:
    """The filter for one architecture (``x86_64`` or ``aarch64``).

    Raises:
        KeyError: no table for that architecture.
    """
    column = {"x86_64": 0, "aarch64": 1}[machine]
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine == "x86_64":
        code += [(_JUMP_ABOVE, 0, 1, _X32_BIT), (_RETURN, 0, 0, _KILL)]
    code += [(_JUMP_ABOVE, 0, 1, _NEWEST + 1), _fail(errno.ENOSYS)]
    for absent in (_CLONE3, *MISSING.values()):
        code += _only(absent[column], [_fail(errno.ENOSYS)])
    code += _refused_bits(_CLONE[column], NAMESPACES_OF_CLONE)
    code += _refused_bits(_UNSHARE[column], NAMESPACES)
    code += _families(_SOCKET[column]) + _families(_SOCKETPAIR[column])
    code += _requests(_IOCTL[column])
    for numbers in REFUSED.values():
        number = numbers[column]
        if number is not None:
            code += _only(number, [_fail(errno.EPERM)])
    return [*code, (_RETURN, 0, 0, _ALLOW)]


def program() -> bytes:
    """The filter for this machine as the kernel reads it: an array of ``struct sock_filter``."""
    return b"".join(struct.pack("=HBBI", *each) for each in instructions(linux.machine()))


def prepared() -> Program:
    """The filter for this machine, ready to be installed."""
    code = instructions(linux.machine())
    array = (_Instruction * len(code))(*[_Instruction(*each) for each in code])
    return Program(len(code), array)


def install(calls: Program | None = None) -> None:
    """Put the filter on this process and all it will ever start; ``no_new_privs`` must be set."""
    linux.prctl(linux.PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(calls or prepared()))
