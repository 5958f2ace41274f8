"""Links to descriptors of the API: ``/proc/self/fd`` means the API's own to whoever asks it."""

import os

import pytest

from .attacker import Attacker

NUMBERS = range(3, 16)
LINKS = "for n in $(seq 3 15); do ln -sfn /proc/self/fd/$n /tmp/way-$n; done"


def test_no_directory_of_the_api_is_worked_in(evil: Attacker) -> None:
    """Its own ``/proc`` can be written to: there programs could save themselves from the end."""
    assert evil.run(LINKS)["exitCode"] == 0
    for number in NUMBERS:
        for place in (f"/tmp/way-{number}", f"/proc/self/fd/{number}", f"/tmp/way-{number}/self"):
            body = {"command": "echo 0 > oom_score_adj; true", "workingDir": place}
            answer = evil.api.post(
                f"{evil.base}/process", json=body | {"waitForCompletion": True, "timeout": 20}
            )
            if answer.status_code == 200:  # some other directory: nothing of /proc
                seen = evil.api.post(
                    f"{evil.base}/process",
                    json={"command": "cat loadavg self/loadavg status", "workingDir": place}
                    | {"waitForCompletion": True, "timeout": 20},
                )
                assert seen.json()["stdout"] == "", place
    if not os.environ.get("SERAI_TEST_DRIVER"):  # with others, programs may change theirs
        assert evil.run("cat /proc/self/oom_score_adj")["stdout"] == "500\n"
    assert evil.is_well()


@pytest.mark.parametrize("name", ["self/maps", "1/maps", "1/environ", "1/auxv", "self/status"])
def test_nothing_of_the_api_is_read(evil: Attacker, name: str) -> None:
    assert evil.run(LINKS)["exitCode"] == 0
    for number in NUMBERS:
        answer = evil.api.get(f"{evil.base}/filesystem//tmp/way-{number}/{name}")
        assert answer.status_code in (404, 422), answer.text[:200]


def test_a_working_directory_that_became_such_a_link(evil: Attacker) -> None:
    """What runs after the next start must not be there either."""
    made = evil.run("mv /blaxel /elsewhere; ln -s /proc/self/fd/6 /blaxel; cd /")
    assert made["exitCode"] == 0, made["logs"]
    answer = evil.api.post(
        f"{evil.base}/process",
        json={"command": "cat loadavg", "waitForCompletion": True, "timeout": 20},
    )
    assert answer.status_code == 422, answer.text
    body = {"command": "cat loadavg", "workingDir": "/", "waitForCompletion": True, "timeout": 20}
    done = evil.api.post(f"{evil.base}/process", json=body).json()
    assert done["exitCode"] != 0, done
