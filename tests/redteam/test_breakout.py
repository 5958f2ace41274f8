"""Ways out of a sandbox that the kernel has a call for, and ways to the process that serves it."""

import json
import os

import pytest

from .attacker import Attacker

DRIVER = os.environ.get("SERAI_TEST_DRIVER", "")
many_users = pytest.mark.skipif(DRIVER == "bwrap", reason="bubblewrap maps one user only")

FEWEST = 120
"""Ways that were tried: fewer mean that the program did not do its work."""
_SCORES = {
    "descriptors_of_1",
    "own_old_score",
    "own_score",
    "score_of_1",
    "write /proc/1/clear_refs",
    "write /proc/self/loginuid",
}
_LIMITS = {"address_space_of_a_thread_of_1", "limits_of_1", "processor_time_of_1"}
_GVISOR = {
    "address_space_of_a_thread_of_1",
    "auxv_of_1",
    "chroot_and_climb",
    "descriptors_of_1",
    "environ_of_1",
    "fdinfo/3_of_1",
    "firewall_mark",
    "foreign_address",
    "limits_of_1",
    "maps_of_1",
    "own_score",
    "priority",
    "score_of_1",
    "smaps_of_1",
    "write /proc/sys/net/ipv4/ip_forward",
}
"""All within its own kernel, which shows more of process 1, and takes what it then does not do. Who
climbs out of the root finds an empty directory that is read-only."""
KNOWN = dict.fromkeys(("crun", "runc", "docker", "podman"), _SCORES)
KNOWN |= {"bwrap": _SCORES | _LIMITS, "runsc": _GVISOR}
"""What each driver leaves open, as docs/explanation/isolation.md says; none of it leads out."""
SPARE = ["--spare"] if DRIVER == "runsc" else []
ends_the_api = pytest.mark.skipif(DRIVER == "runsc", reason="root inside gVisor can end its API")


def test_no_way_out(evil: Attacker) -> None:
    said = evil.attack("breakout.py", *SPARE)
    assert set(said["passed"]) <= KNOWN.get(DRIVER, set())
    assert len(said["refused"]) > FEWEST
    if not _LIMITS & KNOWN.get(DRIVER, set()):
        assert evil.is_well()


@many_users
def test_not_as_another_user_either(evil: Attacker) -> None:
    command = " ".join([evil.upload("breakout.py"), *SPARE])
    done = evil.run(f"setpriv --reuid=1000 --regid=1000 --clear-groups {command}")
    said = json.loads(done["stdout"].splitlines()[-1])
    assert set(said["passed"]) <= KNOWN.get(DRIVER, set()), done["logs"]
    assert evil.is_well()


HASTY = """
for n in 1 2 3 4 5 6; do while :; do :; done & done
trap 'kill 0' EXIT
sleep 20
"""
OWN = """sh -c '
cut -d" " -f19 /proc/self/stat
until [ $(cat /proc/self/oom_score_adj) = 500 ]; do sleep 0.05; done
'"""


@many_users
def test_haste_does_not_keep_the_priority_of_the_api(evil: Attacker) -> None:
    """Programs that become another user at once, while the API has to wait for the CPU."""
    busy = evil.start(HASTY)
    hasty = f"setpriv --reuid=1000 --regid=1000 --clear-groups {OWN}"
    done = [evil.run(hasty) for _ in range(40)]
    assert {(each["stdout"], each["exitCode"]) for each in done} == {("0\n", 0)}
    evil.api.delete(f"{evil.base}/process/{busy}/kill")


@many_users
def test_set_user_id_gives_nothing(evil: Attacker) -> None:
    prepare = "cp /usr/bin/id /tmp/id && chmod 6755 /tmp/id && setcap cap_chown+ep /tmp/id; "
    done = evil.run(f"{prepare}setpriv --reuid=1000 --regid=1000 --clear-groups /tmp/id -u")
    assert done["stdout"] == "1000\n", done["logs"]


STORM = """import os, time
end = time.monotonic() + 6
while time.monotonic() < end:
    for number in (1, 2, 15):
        os.kill(1, number)
"""


@ends_the_api
def test_a_storm_of_signals_does_not_end_the_api(evil: Attacker) -> None:
    """It blocks signals for a moment whenever it starts a program."""
    evil.upload("breakout.py")  # by a thread, which stays
    evil.start(f"python3 -c '{STORM}'")
    for _ in range(60):
        assert evil.run("true")["exitCode"] == 0
    assert evil.is_well()
