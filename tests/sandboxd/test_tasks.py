"""Tasks of jobs in a box: started with one request, known afterwards, ended in time."""

import json
import time
import urllib.request
from typing import Any

from .client import Sandbox


def wanted(name: str, *command: str, **more: Any) -> dict[str, Any]:
    """A task."""
    task = {"name": name, "command": list(command), "environment": {}, "timeout": 60, "grace": 5}
    return task | more


def events(answer: Any) -> list[dict[str, str]]:
    """Events but for signs of life."""
    found = [json.loads(line) for line in answer.read().splitlines()]
    return [event for event in found if event["type"] != "keepalive"]


def end(found: list[dict[str, str]]) -> dict[str, Any]:
    """How it ended."""
    assert found[-1]["type"] == "result"
    told: dict[str, Any] = json.loads(found[-1]["data"])
    return told


def test_output_and_end_come_in_the_answer(sandbox: Sandbox) -> None:
    script = 'printf "%s|" "$@"; echo $KIND; echo oh >&2; exit 3'
    task = wanted("a", "sh", "-c", script, "sh", "two words", "$HOME", environment={"KIND": "x"})
    found = events(sandbox.open("POST", "/task", task))
    said = "".join(each["data"] for each in found if each["type"] == "stdout")
    assert said == "two words|$HOME|x\n"
    assert {"type": "stderr", "data": "oh\n"} in found
    assert end(found) == {"code": 3, "late": False, "stopped": False}


def test_it_is_found_by_its_name_afterwards(sandbox: Sandbox) -> None:
    response = sandbox.open("POST", "/task", wanted("b", "sh", "-c", "echo 1; sleep 0.5; echo 2"))
    assert b"1" in response.readline()
    response.close()
    found = events(sandbox.open("GET", "/task/b"))
    assert "".join(event["data"] for event in found[:-1]) == "1\n2\n"
    assert end(found)["code"] == 0
    assert end(events(sandbox.open("GET", "/task/b"))) == end(found)
    assert sandbox.call("GET", "/task/none").status == 404


def test_its_limit_holds_without_anybody_watching(sandbox: Sandbox) -> None:
    script = "trap 'echo asked; exit 7' TERM; while :; do sleep 0.05; done"
    sandbox.open("POST", "/task", wanted("c", "sh", "-c", script, timeout=0.3)).close()
    found = events(sandbox.open("GET", "/task/c"))
    assert {"type": "stdout", "data": "asked\n"} in found
    assert end(found) == {"code": 7, "late": True, "stopped": True}


def test_who_ignores_the_limit_is_killed(sandbox: Sandbox) -> None:
    script = "trap '' TERM; while :; do sleep 0.05; done"
    task = wanted("d", "sh", "-c", script, timeout=0.2, grace=0.3)
    assert end(events(sandbox.open("POST", "/task", task))) == {
        "code": -1,
        "late": True,
        "stopped": True,
    }


def test_a_stop_reaches_the_program_itself(sandbox: Sandbox) -> None:
    script = "import time, signal, sys\nsignal.signal(15, lambda *_: sys.exit(9))\n"
    script += "print('up', flush=True)\ntime.sleep(60)"
    response = sandbox.open("POST", "/task", wanted("e", "python3", "-c", script))
    while b"up" not in response.readline():
        pass
    assert sandbox.call("DELETE", "/process/e").status == 200
    assert end(events(response)) == {"code": 9, "late": False, "stopped": True}


def test_what_cannot_start_is_told(sandbox: Sandbox) -> None:
    found = events(sandbox.open("POST", "/task", wanted("f", "/no/such/program")))
    assert end(found)["code"] == 127
    refused = sandbox.call("POST", "/task", wanted("g", "true", working_dir="/none"))
    assert refused.status in {200, 422}
    assert sandbox.call("POST", "/task", {"name": "h"}).status == 400


def test_parameters_are_answered_inside(sandbox: Sandbox) -> None:
    data = {"tasks": [{"n": 1}, {"n": 2}]}
    url = sandbox.call("PUT", "/task/data", data).json["url"]
    with urllib.request.urlopen(url) as answer:
        assert json.load(answer) == data
    again = sandbox.call("PUT", "/task/data", {"tasks": []}).json["url"]
    assert again == url
    deadline = time.monotonic() + 5
    while json.load(urllib.request.urlopen(url)) != {"tasks": []}:
        assert time.monotonic() < deadline
