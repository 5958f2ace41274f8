"""Ways out of a sandbox that the kernel has a call for, and ways to the process that serves it."""

from .attacker import Attacker

FEWEST = 120
"""Ways that were tried: fewer mean that the program did not do its work."""


def test_no_way_out(evil: Attacker) -> None:
    said = evil.attack("breakout.py")
    assert said["passed"] == []
    assert len(said["refused"]) > FEWEST
    assert evil.is_well()


def test_not_as_another_user_either(evil: Attacker) -> None:
    command = evil.upload("breakout.py")
    done = evil.run(f"setpriv --reuid=1000 --regid=1000 --clear-groups {command}")
    assert '"passed": []' in done["stdout"], done["logs"]
    assert evil.is_well()


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


def test_a_storm_of_signals_does_not_end_the_api(evil: Attacker) -> None:
    """It blocks signals for a moment whenever it starts a program."""
    evil.upload("breakout.py")  # by a thread, which stays
    evil.start(f"python3 -c '{STORM}'")
    for _ in range(60):
        assert evil.run("true")["exitCode"] == 0
    assert evil.is_well()
