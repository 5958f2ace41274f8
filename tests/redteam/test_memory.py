"""Memory bombs of every kind: the bomb goes, the sandbox and everybody else stay."""

from collections.abc import Callable

import pytest

from .attacker import Attacker, until

MEMORY_MB = 512
TOO_MUCH_MB = str(MEMORY_MB * 5 // 4)
KINDS = (
    "plain", "many_small", "memfd", "anonymous_shared", "system_v", "unix_sockets",
)  # fmt: skip


def started_at(sandbox: Attacker) -> object:
    """When the sandbox's API began: another moment means that it was killed."""
    return sandbox.api.get(f"{sandbox.base}/health").json()["startedAt"]


@pytest.fixture
def small(attacker: Callable[..., Attacker]) -> Attacker:
    return attacker(memory=MEMORY_MB)


def test_bombs_take_themselves_away(small: Attacker) -> None:
    begin = started_at(small)
    command = small.upload("memory.py")
    for kind in KINDS:
        done = small.run(f"{command} {kind} {TOO_MUCH_MB}")
        if kind != "many_small":
            assert done["exitCode"] != 0, f"{kind} took it all: {done['logs']}"
        small.run("ipcrm -a", 20)
        assert small.is_well(), kind
        assert started_at(small) == begin, kind


def test_what_waits_in_sockets_is_bounded_too(small: Attacker) -> None:
    taken = small.attack("memory.py", "tcp_sockets", TOO_MUCH_MB)["taken"]
    assert taken < MEMORY_MB
    assert small.is_well()


def test_folders_in_memory_are_small(small: Attacker) -> None:
    command = small.upload("memory.py")
    begin = started_at(small)
    assert small.run(f"{command} shared_folder {TOO_MUCH_MB}")["exitCode"] != 0
    assert small.run("rm -f /dev/shm/bomb; dd if=/dev/zero of=/dev/bomb bs=1M count=64 2>&1")[
        "exitCode"
    ]
    for name in ("/sys/x", "/proc/x", "/dev/pts/x"):
        assert small.run(f"echo x > {name}")["exitCode"] != 0
    assert started_at(small) == begin


def test_programs_go_before_the_api(small: Attacker) -> None:
    small.upload("stubborn.py")
    scores = "for p in /proc/[0-9]*; do echo $p $(cat $p/oom_score_adj); done"
    small.start("sleep 60")
    small.start("(setsid sh -c 'setsid sleep 60 & setsid sleep 60' &)")
    until(lambda: small.run("cat /proc/[0-9]*/cmdline")["stdout"].count("sleep\0") == 3)
    lines = [line.split() for line in small.run(scores)["stdout"].splitlines()]
    found = {line[0]: int(line[1]) for line in lines if len(line) == 2}
    api = found.pop("/proc/1")
    assert len(found) >= 3
    assert all(score >= api + 500 for score in found.values()), found
