"""The filter lets through what is listed, on both architectures and in both of its forms."""

import re
from pathlib import Path

import pytest

from serai.runtime import seccomp, system_calls
from serai.runtime.oci import bundle

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
TABLES = (
    system_calls.ALLOWED,
    system_calls.REFUSED,
    system_calls.FILTERED,
    system_calls.ABSENT,
)
EVERY = {name: numbers for table in TABLES for name, numbers in table.items()}


def test_no_call_is_in_two_tables() -> None:
    assert sum(len(table) for table in TABLES) == len(EVERY)
    for machine in HEADERS:
        numbers = system_calls.of(EVERY, machine).values()
        assert len(set(numbers)) == len(numbers) > 290


@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip("the kernel's headers are not installed")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", HEADERS[machine].read_text())
    theirs = {name: int(number) for name, number in found} | {"newfstatat": 0}
    assert "mount" in theirs
    for name, number in system_calls.of(EVERY, machine).items():
        known = name in theirs and not name.startswith(("newfstatat", "sync_file_range"))
        assert not known or theirs[name] == number, name


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_path_ends_in_a_verdict(machine: str) -> None:
    program = seccomp.instructions(machine)
    assert len(program) < 4096
    for at, (code, yes, no, _) in enumerate(program):
        assert max(yes, no) < 256
        if code & 0x07 == 0x05:
            assert at + 1 + max(yes, no) < len(program)
    assert program[-1][0] == 0x06


def _verdict(machine: str, number: int, first: int = 0, second: int = 0) -> int:
    """Run the program as the kernel would."""
    data = {0: number, 4: seccomp._ARCHITECTURES[machine], 16: first, 24: second}
    program, at, value = seccomp.instructions(machine), 0, 0
    while True:
        code, yes, no, operand = program[at]
        at += 1
        if code == 0x06:
            return operand
        if code == 0x20:
            value = data[operand]
            continue
        if code == 0x54:
            value &= operand
            continue
        hit = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[code]
        at += yes if hit else no


ALLOW, EPERM, ENOSYS, EAFNOSUPPORT, KILL = 0x7FFF0000, 0x50001, 0x50026, 0x50061, 0x80000000


@pytest.mark.parametrize(
    ("machine", "number", "first", "second", "expected"),
    [
        ("x86_64", 0, 0, 0, ALLOW),
        ("aarch64", 63, 0, 0, ALLOW),
        ("x86_64", 165, 0, 0, EPERM),
        ("aarch64", 40, 0, 0, EPERM),
        ("x86_64", 435, 0, 0, ENOSYS),
        ("x86_64", 206, 0, 0, ENOSYS),
        ("aarch64", 0, 0, 0, ENOSYS),
        ("x86_64", 447, 0, 0, ENOSYS),
        ("x86_64", 469, 0, 0, ALLOW),
        ("aarch64", 470, 0, 0, ENOSYS),
        ("x86_64", 0x3FFFFFFF, 0, 0, ENOSYS),
        ("aarch64", 0x40000000, 0, 0, ENOSYS),
        ("x86_64", 56, 0x11, 0, ALLOW),
        ("x86_64", 56, 0x10000011, 0, EPERM),
        ("aarch64", 220, 0x20000011, 0, EPERM),
        ("x86_64", 272, 0x400, 0, ALLOW),
        ("x86_64", 272, 0x80, 0, EPERM),
        ("x86_64", 41, 2, 0, ALLOW),
        ("x86_64", 41, 1, 0, ALLOW),
        ("x86_64", 41, 16, 0, ALLOW),
        ("x86_64", 41, 40, 0, EAFNOSUPPORT),
        ("aarch64", 198, 38, 0, EAFNOSUPPORT),
        ("x86_64", 16, 3, 0x5412, EPERM),
        ("x86_64", 16, 3, 0x5401, ALLOW),
        ("x86_64", 16, 3, 0x5000940E, EPERM),
        ("aarch64", 29, 3, 0x50009401, EPERM),
        ("x86_64", 16, 3, 0x40049409, ALLOW),
        ("x86_64", 16, 3, 0x4020940D, ALLOW),
        ("x86_64", 0x40000000 | 165, 0, 0, KILL),
    ],
)
def test_verdicts(machine: str, number: int, first: int, second: int, expected: int) -> None:
    assert _verdict(machine, number, first, second) == expected


def test_an_unknown_architecture_has_no_filter() -> None:
    with pytest.raises(KeyError):
        seccomp.instructions("riscv64")


def _oci_verdicts(machine: str, name: str, arguments: tuple[int, int]) -> set[int]:
    """What the rules that apply say in the OCI's form; more than one would be a contradiction."""
    rules = bundle.filter_of(machine)
    found = set()
    for rule in rules["syscalls"]:
        conditions = rule.get("args", [])
        holds = all(
            arguments[each["index"]] & each["value"] == each["valueTwo"] for each in conditions
        )
        if name in rule["names"] and holds:
            found.add(ALLOW if "errnoRet" not in rule else 0x50000 | rule["errnoRet"])
    return found or {0x50000 | rules["defaultErrnoRet"]}


VALUES = {
    "ioctl": (*range(0x5400, 0x5430), *range(0x93FE, 0x9502), *seccomp.CLONE_FILES, 0x5000940E, 0),
    "clone": (0x11, 0, *(1 << bit for bit in range(32))),
    "unshare": (0x400, 0, *(1 << bit for bit in range(32))),
    "socket": range(50),
    "socketpair": range(50),
}


@pytest.mark.parametrize("machine", HEADERS)
def test_both_forms_agree(machine: str) -> None:
    numbers = system_calls.of(EVERY, machine)
    for name in (*system_calls.ALLOWED, *system_calls.REFUSED, *system_calls.ABSENT):
        if name in numbers:
            assert _oci_verdicts(machine, name, (0, 0)) == {_verdict(machine, numbers[name])}
    for name, value in ((name, value) for name, values in VALUES.items() for value in values):
        first, second = (0, value) if name == "ioctl" else (value, 0)
        ours = _verdict(machine, numbers[name], first, second)
        assert len({ours, ALLOW}) == len({*_oci_verdicts(machine, name, (first, second)), ALLOW})
        high = (first | 1 << 32, second | 1 << 32)
        assert _oci_verdicts(machine, name, high) == _oci_verdicts(machine, name, (first, second))
