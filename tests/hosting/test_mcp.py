"""MCP servers on standard input and output, deployed as they are; and what sessions cling to."""

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest

from platform_server import Server

from .apps import BROKEN, SILENT, deploy, deployment, until, who
from .mcp_programs import LINGERING, SESSION, STDIO, begin, call, post

pytestmark = pytest.mark.sandbox
numbers = itertools.count()


@pytest.fixture
def name(quick: httpx.Client) -> Iterator[str]:
    """The name of a function that goes with the test."""
    fresh = f"mcp-{next(numbers)}"
    yield fresh
    quick.delete(f"/v0/functions/{fresh}")


def test_a_stdio_server_is_served(quick: httpx.Client, name: str) -> None:
    deploy(quick, deployment(name, STDIO, runtime=who("mint")), "functions")
    first, second = begin(quick, name), begin(quick, name)
    said = [call(quick, name, session) for session in (first, second, first)]
    assert said[0] == said[2] != said[1]
    assert said[0].startswith("mint ")
    assert call(quick, name) == call(quick, name)  # without a session
    ended = quick.delete(f"/main/functions/{name}/mcp", headers={SESSION: first})
    assert ended.status_code == 204
    assert post(quick, name, {"id": 1, "method": "ping"}, first).status_code == 404
    query = {"resourceType": "functions", "workloadIds": name, "type": "all", "limit": "1000"}
    moments = {"start": "2025-01-01T00:00:00", "end": "2099-01-01T00:00:00"}

    def lines() -> list[str]:
        found = quick.get("/v0/observability/logs", params=query | moments).json()[name]["logs"]
        return [each["message"] for each in found if "greeting mint" in each["message"]]

    until(lambda: len(lines()) == 4)  # looked at, probed, and a process for each session


@pytest.mark.parametrize("path", ["", "/", "/process", "/mcp/../process", "/mcp%2f..", "/health"])
def test_nothing_else_of_the_box_can_be_reached(quick: httpx.Client, name: str, path: str) -> None:
    deploy(quick, deployment(name, STDIO), "functions")
    answer = quick.get(f"/main/functions/{name}{path}")
    assert answer.status_code == 404
    assert "/mcp" in answer.text


def test_a_server_that_goes_on_without_input_is_found_too(quick: httpx.Client, name: str) -> None:
    deploy(quick, deployment(name, LINGERING), "functions")
    assert call(quick, name).startswith("None ")


def test_what_serves_by_neither_way_fails_and_says_so(quick: httpx.Client, name: str) -> None:
    found = deploy(quick, deployment(name, BROKEN), "functions", status="FAILED")
    told = found["events"][-1]["message"]
    assert "exit code 3 before it listened on port 8080" in told
    assert "does not speak MCP on its standard input and output" in told
    assert "no module named sense" in told
    found = deploy(quick, deployment(name, SILENT), "functions", status="FAILED")
    told = found["events"][-1]["message"]
    assert "the variable PORT, or speak MCP on its standard input and output" in told


def test_a_session_whose_instance_is_gone_is_initialized_anew(
    quick: httpx.Client, name: str
) -> None:
    deploy(quick, deployment(name, STDIO, runtime=who("old")), "functions")
    session = begin(quick, name)
    deploy(quick, deployment(name, STDIO, runtime=who("new")), "functions")
    gone = post(quick, name, {"id": 1, "method": "ping"}, session)
    assert gone.status_code == 404
    assert gone.json()["error"]["code"] == "SESSION_NOT_FOUND"
    assert "initialize" in gone.json()["error"]["message"]
    assert call(quick, name, begin(quick, name)).startswith("new ")


def test_sessions_on_several_instances_sleep_and_go_on(new_server: Callable[..., Server]) -> None:
    paced = {"SERAI_INSTANCE_CONCURRENCY": "1", "SERAI_STANDBY_SECONDS": "0.5"}
    server = new_server("several", **paced).start()
    api = server.client
    runtime = {"maxScale": 2} | who("one of several")
    deploy(api, deployment("several", STDIO, runtime=runtime), "functions")
    kept: dict[str, str] = {}

    def has_two() -> bool:
        with ThreadPoolExecutor(4) as pool:
            for session in pool.map(lambda _: begin(api, "several"), range(4)):
                kept[session] = call(api, "several", session)
        return len({each.partition("~")[2] for each in kept}) == 2

    until(has_two)

    def phases() -> list[str]:
        with closing(sqlite3.connect(server.data_dir / "serai.db")) as database:
            return [row[0] for row in database.execute("SELECT phase FROM hosted_instances")]

    until(lambda: phases() == ["suspended", "suspended"])
    by_instance = {session.partition("~")[2]: session for session in kept}
    for session in by_instance.values():
        assert call(api, "several", session) == kept[session]


def test_after_a_restart_of_the_platform_sessions_go_on(
    new_server: Callable[..., Server],
) -> None:
    server = new_server("restarted", SERAI_INSTANCE_STOP_SECONDS="60").start()
    deploy(server.client, deployment("tiny", STDIO, runtime=who("me")), "functions")
    session = begin(server.client, "tiny")
    said = call(server.client, "tiny", session)
    server.kill()
    server.start()
    assert call(server.client, "tiny", session) == said


def test_a_server_of_the_hub_runs_as_its_file_says(new_server: Callable[..., Server]) -> None:
    server = new_server("hub")
    folder = server.data_dir / "catalogue"
    folder.mkdir(parents=True)
    (folder / "mcp-hub.toml").write_text(HUB)
    server.start()
    [offered] = server.client.get("/v0/mcp/hub").json()
    body = {"metadata": {"name": "from-hub"}, "spec": {"runtime": {"image": offered["image"]}}}
    deploy(server.client, body, "functions")
    assert call(server.client, "from-hub").startswith("the hub ")


HUB = f"""
[[servers]]
name = "tiny"
displayName = "Tiny"
image = "blaxel/py-app:latest"
[servers.entrypoint]
command = "python3"
args = ["-c", '''{STDIO}''']
env = {{ WHO = "the hub" }}
"""
