"""Agents: deployed, called, replaced, rolled back, switched off."""

import itertools
import threading
from collections.abc import Iterator

import httpx
import pytest

from .apps import BROKEN, ECHO, SILENT, WRONG_PORT, deploy, deployment, lines_of, until, who

pytestmark = pytest.mark.sandbox
numbers = itertools.count()


@pytest.fixture
def name(api: httpx.Client) -> Iterator[str]:
    """A fresh name, whose agent goes away with the test."""
    fresh = f"agent-{next(numbers)}"
    yield fresh
    api.delete(f"/v0/agents/{fresh}")


def test_an_agent_is_deployed_and_called(api: httpx.Client, name: str) -> None:
    secret = {"name": "PASSWORD", "value": "swordfish", "secret": True}
    plain = {"name": "PLAIN", "value": "yes"}
    deploy(api, deployment(name, runtime={"envs": [secret, plain]}))
    answer = api.post(
        f"/main/agents/{name}/ask?x=1&y=%20", content=b'{"inputs":"hi"}', headers={"Thread-Id": "7"}
    )
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["path"], told["method"], told["body"]) == (
        "/ask?x=1&y=%20",
        "POST",
        '{"inputs":"hi"}',
    )
    assert told["headers"]["thread-id"] == "7"
    assert not {"authorization", "x-blaxel-authorization"} & told["headers"].keys()
    assert told["env"] == {
        "HOST": "0.0.0.0",
        "PORT": "8080",
        "BL_WORKSPACE": "main",
        "BL_NAME": name,
        "BL_TYPE": "agent",
        "PASSWORD": "swordfish",
        "PLAIN": "yes",
    }
    assert api.get(f"/main/agents/{name}").json()["path"] == "/"
    assert api.get(f"/run/main/agents/{name}/x").json()["path"] == "/x"


def test_a_new_revision_takes_over_and_the_old_one_comes_back(api: httpx.Client, name: str) -> None:
    first = deploy(api, deployment(name, runtime=who("blue")))["spec"]["revision"]["active"]
    assert api.get(f"/main/agents/{name}").json()["who"] == "blue"
    deploy(api, deployment(name, runtime=who("green")))
    assert api.get(f"/main/agents/{name}").json()["who"] == "green"
    back = {"metadata": {"name": name}, "spec": {"revision": {"active": first}}}
    assert api.put(f"/v0/agents/{name}", json=back).status_code == 200
    until(lambda: api.get(f"/main/agents/{name}").json()["who"] == "blue")


def test_a_broken_revision_leaves_the_one_before_serving(api: httpx.Client, name: str) -> None:
    deploy(api, deployment(name, runtime=who("blue")))
    failed = deploy(api, deployment(name, BROKEN), status="FAILED")
    message = failed["events"][-1]["message"]
    assert "exit code 3" in message
    assert "no module named sense" in message
    assert "goes on serving" in message
    assert api.get(f"/main/agents/{name}").json()["who"] == "blue"
    deploy(api, deployment(name, runtime=who("green")))
    assert api.get(f"/main/agents/{name}").json()["who"] == "green"


def test_switched_off_and_on_again(api: httpx.Client, name: str) -> None:
    body = deployment(name)
    deploy(api, body)
    off = body | {"spec": body["spec"] | {"enabled": False}}
    assert api.put(f"/v0/agents/{name}", json=off).status_code == 200
    until(lambda: api.get(f"/v0/agents/{name}").json()["status"] == "DEACTIVATED")
    answer = api.get(f"/main/agents/{name}")
    assert answer.status_code == 404
    assert answer.headers["x-blaxel-error-code"] == "WORKLOAD_UNAVAILABLE"
    assert "switched off" in answer.json()["error"]["message"]
    deploy(api, body)
    assert api.get(f"/main/agents/{name}").status_code == 200


def test_errors_say_what_to_do(api: httpx.Client, browser: httpx.Client, name: str) -> None:
    answer = api.get(f"/main/agents/{name}")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (404, "WORKLOAD_NOT_FOUND")
    assert answer.headers["x-blaxel-error-code"] == "WORKLOAD_NOT_FOUND"
    assert {"action", "do_not", "docs_url", "message", "origin", "timestamp"} <= error.keys()
    assert error["origin"] == "platform"
    assert error["retryable"] is False
    api.post("/v0/agents", json={"metadata": {"name": name}, "spec": {}})
    until(lambda: "has no image" in api.get(f"/main/agents/{name}").text)
    error = api.get(f"/main/agents/{name}").json()["error"]
    assert (error["code"], error["retryable"]) == ("WORKLOAD_UNAVAILABLE", True)
    answer = browser.get(f"/main/agents/{name}")
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "AUTHENTICATION_REQUIRED"


def test_public_agents_answer_anybody(api: httpx.Client, browser: httpx.Client, name: str) -> None:
    deploy(api, deployment(name, public=True))
    answer = browser.get(f"/main/agents/{name}/x", headers={"Authorization": "Bearer theirs"})
    assert answer.status_code == 200
    assert answer.json()["headers"]["authorization"] == "Bearer theirs"


def test_triggers_have_paths_of_their_own(
    api: httpx.Client, browser: httpx.Client, name: str
) -> None:
    hook = {"id": "hook", "type": "http"}
    hook["configuration"] = {"path": f"/hooks/{name}", "authenticationType": "public"}  # type: ignore[assignment]
    deploy(api, deployment(name, triggers=[hook]))
    answer = browser.post(f"/main/hooks/{name}/deep?x=1", content=b"ping")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["path"], answer.json()["body"]) == ("/deep?x=1", "ping")
    assert browser.post(f"/main/agents/{name}").status_code == 401
    bad = {"id": "x", "type": "http", "configuration": {"path": "/models/gpt"}}
    answer = api.put(f"/v0/agents/{name}", json=deployment(name, triggers=[bad]))
    assert answer.status_code == 400
    assert "configuration.path" in answer.json()["message"]


def test_answers_stream(api: httpx.Client, name: str) -> None:
    deploy(api, deployment(name))
    with api.stream("GET", f"/main/agents/{name}/stream") as answer:
        pieces = list(answer.iter_text())
    assert len(pieces) > 1
    assert "".join(pieces) == "data: 0\n\ndata: 1\n\ndata: 2\n\n"


def test_a_crash_is_told_and_mended(api: httpx.Client, name: str) -> None:
    deploy(api, deployment(name))
    assert api.get(f"/main/agents/{name}/crash").status_code == 502
    answer = api.get(f"/main/agents/{name}")
    assert answer.status_code == 200, answer.text
    told = [each["message"] for each in api.get(f"/v0/agents/{name}").json()["events"]]
    assert any("exit code 7" in message and "oh no" in message for message in told)


@pytest.mark.parametrize(
    ("source", "reason"),
    [(WRONG_PORT, "listens on port 3456"), (SILENT, "thinking")],
    ids=["wrong port", "silent"],
)
def test_why_nothing_serves(quick: httpx.Client, source: str, reason: str) -> None:
    name = f"agent-{next(numbers)}"
    failed = deploy(quick, deployment(name, source), status="FAILED")
    assert reason in failed["events"][-1]["message"]
    error = quick.get(f"/main/agents/{name}").json()["error"]
    assert error["code"] == "WORKLOAD_UNAVAILABLE"
    assert reason in error["message"]
    quick.delete(f"/v0/agents/{name}")


def test_a_crash_loop_pauses_and_says_why(api: httpx.Client, name: str) -> None:
    deploy(api, deployment(name))

    def crashed() -> bool:
        answer = api.get(f"/main/agents/{name}/crash")
        error = answer.json()["error"]
        return bool(error["code"] == "WORKLOAD_UNAVAILABLE" and "in a row" in error["message"])

    until(crashed)
    answer = api.get(f"/main/agents/{name}")
    if answer.status_code != 200:  # the pause may be over by now
        assert answer.json()["error"]["reason"] == "crashed"
        assert int(answer.headers["retry-after"]) >= 1
    until(lambda: crashed() and api.get(f"/v0/agents/{name}").json()["status"] == "FAILED")
    until(lambda: api.get(f"/main/agents/{name}").status_code == 200)
    until(lambda: api.get(f"/v0/agents/{name}").json()["status"] == "DEPLOYED")


def test_too_much_memory_is_told(api: httpx.Client, name: str) -> None:
    greedy = "import os\nkept = []\nwhile True: kept.append(os.urandom(1 << 20))"
    failed = deploy(api, deployment(name, greedy), status="FAILED")
    assert "out of memory" in failed["events"][-1]["message"]


def test_instances_that_are_always_there(quick: httpx.Client) -> None:
    name = f"agent-{next(numbers)}"
    deploy(quick, deployment(name, runtime=who("first") | {"minScale": 1}))
    until(lambda: lines_of(quick, name, "serves.") == 1)
    assert quick.get(f"/main/agents/{name}/crash").status_code == 502
    until(lambda: lines_of(quick, name, "serves.") == 2)  # nobody asked for it
    threading.Event().wait(3)  # longer than the time after which others end
    assert lines_of(quick, name, "leaving first") == 0
    quick.delete(f"/v0/agents/{name}")


def test_volumes_stay_from_revision_to_revision(api: httpx.Client, name: str) -> None:
    made = api.post("/v0/volumes", json={"metadata": {"name": name}, "spec": {"size": 64}})
    assert made.status_code == 200, made.text
    count = 'open("/data/log", "a").write("x")\nWHO = open("/data/log").read()\nprint("started"'
    counting = ECHO.replace('print("started"', count)
    volumes = [{"name": name, "mountPath": "/data"}]
    deploy(api, deployment(name, counting, volumes=volumes))
    assert api.get(f"/main/agents/{name}").json()["who"] == "x"
    deploy(api, deployment(name, counting, runtime=who("again"), volumes=volumes))
    assert api.get(f"/main/agents/{name}").json()["who"] == "xx"
    stolen = api.post("/v0/agents", json=deployment("thief", counting, volumes=volumes))
    assert stolen.status_code == 409
    gone = api.put(
        f"/v0/agents/{name}",
        json=deployment(name, volumes=[{"name": "no-such-volume", "mountPath": "/data"}]),
    )
    assert gone.status_code == 400
    api.delete(f"/v0/agents/{name}")
    until(lambda: api.delete(f"/v0/volumes/{name}").status_code in {200, 404})
