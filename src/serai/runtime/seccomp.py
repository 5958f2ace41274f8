"""The system call filter of a sandbox, as classic BPF: what is not listed does not exist.

Most of what it refuses also needs a capability that a sandbox does not have; the filter is
there for the day when one of those checks in the kernel is wrong. Three rules matter on their
own: no new user namespaces (they hand out capabilities again), no AF_VSOCK (a network
namespace does not contain it) and no 32-bit calls (they would pass by the numbers).

It is one search tree over the numbers. The kernel runs it for each number when it is installed,
and remembers those that are allowed whatever their arguments are: these cost nothing later.
"""

import ctypes
import errno
import struct

from serai.runtime import linux, system_calls

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000

_NEWEST = 469
"""The last system call that the tables were checked against (Linux 6.18)."""
FAMILIES = (0, 1, 2, 10, 16)
"""unspecified, Unix, IPv4, IPv6, netlink; everything else is not for a sandbox."""
TERMINAL_INJECTION = (0x5412, 0x541C)
"""TIOCSTI, TIOCLINUX."""
FILE_SYSTEM_REQUESTS, REQUEST_FAMILY = 0x9400, 0xFF00
"""Btrfs takes requests of this family from everyone; a new subvolume would have no limit."""
CLONE_FILES = (0x40049409, 0x4020940D, 0xC0189436)
"""FICLONE, FICLONERANGE and FIDEDUPERANGE, which are of that family by history alone."""
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
Answer = tuple[Instruction, ...]
"""What is done about one call; its last instruction returns."""
_PASS: Instruction = (_RETURN, 0, 0, _ALLOW)


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


def _refused_bits(bits: int) -> Answer:
    return (
        (_LOAD, 0, 0, _ARGUMENTS_AT),
        (_JUMP_ANY_BIT, 0, 1, bits),
        _fail(errno.EPERM),
        _PASS,
    )


def _families() -> Answer:
    checks = [
        (_JUMP_EQUAL, len(FAMILIES) - index, 0, family) for index, family in enumerate(FAMILIES)
    ]
    return ((_LOAD, 0, 0, _ARGUMENTS_AT), *checks, _fail(errno.EAFNOSUPPORT), _PASS)


def _requests() -> Answer:
    checks: list[Instruction] = []
    for number in TERMINAL_INJECTION:
        checks += [(_JUMP_EQUAL, 0, 1, number), _fail(errno.EPERM)]
    for number in CLONE_FILES:
        checks += [(_JUMP_EQUAL, 0, 1, number), _PASS]
    checks.append((_AND, 0, 0, REQUEST_FAMILY))
    checks += [(_JUMP_EQUAL, 0, 1, FILE_SYSTEM_REQUESTS), _fail(errno.EPERM)]
    return ((_LOAD, 0, 0, _ARGUMENTS_AT + 8), *checks, _PASS)


def _answers(machine: str) -> dict[int, Answer]:
    """What each listed call gets, by its number."""
    filtered = {
        "clone": _refused_bits(NAMESPACES_OF_CLONE),
        "unshare": _refused_bits(NAMESPACES),
        "socket": _families(),
        "socketpair": _families(),
        "ioctl": _requests(),
    }
    found = dict.fromkeys(system_calls.of(system_calls.ALLOWED, machine).values(), (_PASS,))
    refused = system_calls.of(system_calls.REFUSED, machine).values()
    found |= dict.fromkeys(refused, (_fail(errno.EPERM),))
    numbers = system_calls.of(system_calls.FILTERED, machine)
    return found | {numbers[name]: answer for name, answer in filtered.items()}


def _ranges(machine: str) -> list[tuple[int, Answer]]:
    """First numbers of ranges whose calls all get one answer, in order."""
    absent: Answer = (_fail(errno.ENOSYS),)
    answers = _answers(machine)
    found: list[tuple[int, Answer]] = []
    for number in range(_NEWEST + 2):
        answer = answers.get(number, absent)
        if not found or found[-1][1] != answer:
            found.append((number, answer))
    if machine == "x86_64":
        found.append((_X32_BIT, ((_RETURN, 0, 0, _KILL),)))
    return found


def _tree(ranges: list[tuple[int, Answer]]) -> list[Instruction]:
    """Halve them until one is left."""
    if len(ranges) == 1:
        return list(ranges[0][1])
    middle = len(ranges) // 2
    below = _tree(ranges[:middle])
    return [(_JUMP_ABOVE, len(below), 0, ranges[middle][0]), *below, *_tree(ranges[middle:])]


def instructions(machine: str) -> list[Instruction]:
    """The filter for one architecture (``x86_64`` or ``aarch64``).

    Raises:
        KeyError: no table for that architecture.
    """
    return [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        *_tree(_ranges(machine)),
    ]


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
