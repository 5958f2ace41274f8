"""The filter program is well formed on both architectures."""

import pytest

from serai.runtime import seccomp


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_path_ends_in_a_verdict(machine: str) -> None:
    program = seccomp.instructions(machine)
    assert len(program) < 4096
    for at, (code, yes, no, _) in enumerate(program):
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
