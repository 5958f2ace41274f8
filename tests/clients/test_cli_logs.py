"""The official CLI `bl`, unmodified: `bl logs` of every kind of resource, and following."""

import queue
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from platform_server import KEY, Server

from .blaxel_cli import Cli, is_built

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(
        not is_built(),
        reason="NOT TESTED WITH THE REAL CLI, which is not built (see `make clients`)",
    ),
]
CREDENTIALS = {"BL_API_KEY": KEY, "BL_WORKSPACE": "main"}


@pytest.fixture
def bl(tmp_path: Path, server: Server) -> Cli:
    return Cli(tmp_path / "home", server)


def pair(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def send(server: Server, kind: str, name: str, *lines: dict[str, Any], **about: str) -> None:
    """Send lines of a resource as an OpenTelemetry exporter does."""
    given = {"workload.type": kind, "workload.id": name} | about
    records = [{"timeUnixNano": str(time.time_ns())} | line for line in lines]
    body = {
        "resource": {"attributes": [pair(key, value) for key, value in given.items()]},
        "scopeLogs": [{"logRecords": records}],
    }
    answer = server.client.post("/v1/logs", json={"resourceLogs": [body]})
    assert (answer.status_code, answer.json()) == (200, {}), answer.text


def line(text: str, severity: str = "INFO") -> dict[str, Any]:
    return {"body": {"stringValue": text}, "severityText": severity}


def logs(bl: Cli, *arguments: str) -> list[str]:
    printed = bl("logs", *arguments, "--no-timestamps", **CREDENTIALS)
    return printed.splitlines()


def until_logged(bl: Cli, *arguments: str, text: str) -> list[str]:
    """What it prints once a text is among it: a line shows half a second after it came."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        printed = logs(bl, *arguments)
        if any(text in each for each in printed):
            return printed
        time.sleep(0.2)
    raise AssertionError(f"{text!r} never showed: {printed}")


@pytest.mark.parametrize("kind", ["agents", "functions", "jobs", "sandboxes"])
def test_lines_of_each_kind(bl: Cli, server: Server, kind: str) -> None:
    name = f"said-{kind}"
    send(server, kind, name, line("first"), line("second", "ERROR"), line("third: Größe"))
    assert until_logged(bl, kind, name, text="third") == ["first", "second", "third: Größe"]
    assert logs(bl, kind, name, "--severity", "ERROR,FATAL") == ["second"]
    assert logs(bl, kind, name, "--search", "GRÖ") == ["third: Größe"]
    assert logs(bl, kind, name, "--search", "IRS") == ["first"]
    assert "No logs found" in logs(bl, kind, f"not-{name}")[0]
    before = ["--start", "2024-01-01T00:00:00Z", "--end", "2024-01-02T00:00:00Z"]
    assert "No logs found" in logs(bl, kind, name, *before)[0]
    dated = bl("logs", kind, name, "--utc", **CREDENTIALS).splitlines()
    assert all(each.startswith(f"[{datetime.now(UTC):%Y}-") for each in dated)


def test_lines_of_an_execution_and_a_task(bl: Cli, server: Server) -> None:
    """The CLI knows the first letters of an execution's name."""
    for execution in ("4f2c9a17-1", "99aa88bb-2"):
        for task in ("0", "1"):
            about = {"execution.id": execution, "task.id": task}
            send(server, "jobs", "sums", line(f"{execution} task {task}"), **about)
    until_logged(bl, "job", "sums", text="99aa88bb-2 task 1")
    wanted = ["4f2c9a17-1 task 0", "4f2c9a17-1 task 1"]
    assert logs(bl, "job", "sums", "4f2c9a17") == wanted
    assert logs(bl, "job", "sums", "4f2c9a17-1", "1") == wanted[1:]


def test_what_becomes_of_a_sandbox(bl: Cli, server: Server) -> None:
    body = {"metadata": {"name": "told"}, "spec": {"runtime": {"memory": 512}}}
    made = server.client.post("/v0/sandboxes", json=body)
    assert made.status_code == 200, made.text
    assert until_logged(bl, "sandbox", "told", text="has started") == [
        "[serai] The sandbox has started."
    ]
    assert server.client.delete("/v0/sandboxes/told").status_code == 200
    printed = until_logged(bl, "sandbox", "told", text="ended for good")
    assert printed[-1] == "[serai] The sandbox has ended for good."


@pytest.fixture
def followed(bl: Cli, server: Server) -> Iterator["queue.Queue[str]"]:
    """What `bl logs --follow` prints, line by line."""
    send(server, "agents", "followed", line("before"))
    process = bl.start("logs", "agent", "followed", "--follow", "--no-timestamps", **CREDENTIALS)
    printed: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for text in process.stdout:
            printed.put(text.strip())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    yield printed
    process.terminate()
    process.wait(timeout=30)
    reader.join(timeout=30)


def test_following(followed: "queue.Queue[str]", server: Server) -> None:
    """It asks again every 15 seconds or less, and shows each line once."""
    seen = [followed.get(timeout=60)]
    while seen[-1] != "before":
        seen.append(followed.get(timeout=60))
    send(server, "agents", "followed", line("after"), line("after"))
    while seen[-2:] != ["after", "after"]:
        seen.append(followed.get(timeout=60))
    assert (seen.count("before"), seen.count("after")) == (1, 2)
