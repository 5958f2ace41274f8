"""Whatever the kernel has a number of: one sandbox cannot take the share of others."""

import ctypes
import json
import os
from collections.abc import Callable

import httpx
import pytest

from .attacker import Attacker, until
from .probe import NEIGHBOUR

HOLD = "60"
libc = ctypes.CDLL(None, use_errno=True)


def hold(evil: Attacker, kind: str) -> None:
    """Start to use something up; returns when nothing is left of it."""
    command = evil.upload("exhaust.py")
    name = evil.start(f"{command} {kind} {HOLD}")
    logs = f"{evil.base}/process/{name}/logs"
    until(lambda: "taken" in evil.api.get(logs).text, 60)


def host_still_can(kind: str) -> bool:
    """Whether a program of the host's root gets some of it."""
    if kind == "watches":
        descriptor = libc.inotify_init1(os.O_CLOEXEC)
        if descriptor >= 0:
            os.close(descriptor)
        return descriptor >= 0
    if kind == "terminals":
        for each in os.openpty():
            os.close(each)
    if kind == "locked":
        return libc.mlock(ctypes.create_string_buffer(4096), 4096) == 0
    return True


@pytest.mark.parametrize(
    "kind", ["descriptors", "terminals", "watches", "locked", "queues", "signals"]
)
def test_the_others_keep_their_share(
    attacker: Callable[..., Attacker], api: httpx.Client, kind: str
) -> None:
    one, other = attacker(), attacker()
    hold(one, kind)
    assert host_still_can(kind)
    assert one.is_well()
    # Another sandbox still gets all that the first one got.
    command = other.upload("exhaust.py")
    first = json.loads(one.api.get(f"{one.base}/process").json()[0]["stdout"].splitlines()[0])
    second = json.loads(other.run(f"{command} {kind} 0")["stdout"].splitlines()[0])
    assert second["taken"] >= first["taken"] * 0.9 > 0
    url = f"/main/sandboxes/{NEIGHBOUR}/watch/filesystem//tmp"
    with api.stream("GET", url) as stream:
        assert stream.status_code == 200


def test_no_process_left(evil: Attacker) -> None:
    """The API answers with what it has: files without new threads, and why no command starts."""
    name = evil.start(f"{evil.upload('exhaust.py')} threads 60")
    until(lambda: "taken" in evil.api.get(f"{evil.base}/process/{name}/logs").text, 60)
    refused = evil.api.post(f"{evil.base}/process", json={"command": "true"})
    assert refused.status_code == 422, refused.text
    assert "resource temporarily unavailable" in refused.text
    put = evil.api.put(f"{evil.base}/filesystem//tmp/file", json={"content": "x" * 1000})
    assert put.status_code == 200, put.text
    assert evil.api.get(f"{evil.base}/filesystem//tmp/file").status_code == 200
    assert evil.api.get(f"{evil.base}/filesystem-find//tmp").status_code == 200
    assert evil.api.get(f"{evil.base}/process").status_code == 200
    assert evil.api.delete(f"{evil.base}/process/{name}/kill").status_code == 200
    until(lambda: can_start(evil))
    assert evil.is_well()


def test_a_fork_bomb(evil: Attacker) -> None:
    """The API gets its share of the CPU before the bomb, and can end it."""
    bomb = evil.start("bomb() { bomb | bomb & }; bomb; sleep 60")
    until(lambda: not can_start(evil))
    assert evil.api.delete(f"{evil.base}/process/{bomb}/kill").status_code == 200
    until(lambda: can_start(evil))
    assert evil.is_well()


def can_start(evil: Attacker) -> bool:
    """Whether a command can be started."""
    answer = evil.api.post(f"{evil.base}/process", json={"command": "true"})
    assert answer.status_code in (200, 422), answer.text
    return answer.is_success


def test_zombies_are_collected(evil: Attacker) -> None:
    assert evil.attack("exhaust.py", "zombies", "0")["taken"] == 1000
    count = "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ' Z '"
    until(lambda: evil.run(count)["stdout"].strip() == "0")
    assert evil.is_well()


def test_who_ignores_every_signal_is_ended(evil: Attacker) -> None:
    command = evil.upload("stubborn.py")
    name = evil.start(command)
    place = f"{evil.base}/process/{name}"
    until(lambda: "begun" in evil.api.get(f"{place}/logs").text)
    assert evil.api.delete(place).status_code == 200
    assert evil.api.delete(f"{place}/kill").status_code == 200
    until(lambda: evil.api.get(place).json()["status"] in ("killed", "stopped", "failed"))
    evil.start(f"{command} detached")
    until(lambda: "stubborn" in evil.run("cat /proc/[0-9]*/cmdline")["stdout"])
    evil.delete()
    until(lambda: evil.api.get(f"/v0/sandboxes/{evil.name}").json()["status"] == "TERMINATED")
