"""MCP servers on standard input and output, served over streamable HTTP."""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .client import Answer, Sandbox

PROGRAM = Path(__file__).with_name("programs") / "stdio_server.py"
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
}
SESSION = "Mcp-Session-Id"


@pytest.fixture(autouse=True)
def server(sandbox: Sandbox) -> Iterator[None]:
    body = {"command": f"exec python3 {PROGRAM}", "env": {"FLAVOUR": "mint"}, "workingDir": "/"}
    assert sandbox.call("PUT", "/stdio/one", body).status == 200
    yield
    assert sandbox.call("DELETE", "/stdio/one").status == 200


def post(sandbox: Sandbox, message: dict[str, Any], session: str = "", **headers: str) -> Answer:
    named = {SESSION: session} if session else {}
    body = {"jsonrpc": "2.0", **message}
    return sandbox.call("POST", "/stdio/one/mcp", body, {**HEADERS, **named, **headers})


def begin(sandbox: Sandbox) -> str:
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}}
    answer = post(sandbox, {"id": 0, "method": "initialize", "params": params})
    assert answer.json["result"]["serverInfo"]["name"] == "stdio"
    assert answer.json["result"]["protocolVersion"] == "2025-06-18"
    done = post(sandbox, {"method": "notifications/initialized"}, answer.headers[SESSION])
    assert done.status == 202
    return str(answer.headers[SESSION])


def call(name: str, number: Any = 7, **more: object) -> dict[str, Any]:
    return {"id": number, "method": "tools/call", "params": {"name": name, **more}}


def said(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return str(answer.json["result"]["content"][0]["text"])


def events(answer: Answer) -> list[Any]:
    assert answer.headers["Content-Type"] == "text/event-stream"
    lines = answer.body.decode().splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def test_a_session_has_a_process_of_its_own(sandbox: Sandbox) -> None:
    first, second = begin(sandbox), begin(sandbox)
    pids = [said(post(sandbox, call("pid"), session)) for session in (first, second, first)]
    assert pids[0] == pids[2] != pids[1]
    assert sandbox.call("GET", "/stdio/one").json["sessions"] == 2
    assert sandbox.call("DELETE", "/stdio/one/mcp", headers={SESSION: first}).status == 204
    gone = post(sandbox, call("pid"), first)
    assert gone.status == 404
    assert "initialize" in gone.json["error"]
    assert said(post(sandbox, call("environment"), second)) == "mint in /"


def test_without_sessions_one_process_serves_all(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: post(sandbox, call("pid", n)), range(40)))
    assert len({said(answer) for answer in answers}) == 1
    assert [answer.json["id"] for answer in answers] == list(range(40))


def test_ids_of_any_kind_come_back(sandbox: Sandbox) -> None:
    for number in ("a b", 0, 2**40, ""):
        assert post(sandbox, {"id": number, "method": "ping"}).json["id"] == number


def test_progress_comes_on_the_stream_of_its_request(sandbox: Sandbox) -> None:
    session = begin(sandbox)
    for token in ("mine", 7):
        message = call("steps", _meta={"progressToken": token})
        for named in (session, ""):
            *steps, last = events(post(sandbox, message, named))
            assert [step["params"]["progress"] for step in steps] == [0, 1, 2]
            assert {step["params"]["progressToken"] for step in steps} == {token}
            assert (last["id"], last["result"]["content"][0]["text"]) == (7, "done")


def test_a_client_without_streams_gets_the_answer(sandbox: Sandbox) -> None:
    message = call("steps", _meta={"progressToken": 1})
    answer = post(sandbox, message, Accept="*/*")
    assert said(answer) == "done"


def test_a_server_asks_its_client(sandbox: Sandbox) -> None:
    session = begin(sandbox)
    response = sandbox.open(
        "POST",
        "/stdio/one/mcp",
        {"jsonrpc": "2.0", **call("ask")},
        {**HEADERS, SESSION: session},
    )
    assert response.readline() == b"event: message\n"
    question = json.loads(response.readline()[6:])
    assert question["method"] == "sampling/createMessage"
    answer = post(sandbox, {"id": question["id"], "result": {"text": "well"}}, session)
    assert answer.status == 202
    assert b"client says well" in response.read()


def test_what_a_server_says_of_itself_is_heard(sandbox: Sandbox) -> None:
    session = begin(sandbox)
    stream = sandbox.open("GET", "/stdio/one/mcp", headers={SESSION: session})
    assert stream.status == 200
    twice = sandbox.call("GET", "/stdio/one/mcp", headers={SESSION: session})
    assert twice.status == 409
    with ThreadPoolExecutor(1) as pool:
        pool.submit(post, sandbox, {"method": "tools/call", "params": {"name": "tell"}}, session)
        while not (line := stream.readline()).startswith(b"data: "):
            assert line
    assert json.loads(line[6:])["params"]["data"] == "hello"
    stream.close()
    without = sandbox.call("GET", "/stdio/one/mcp")
    assert (without.status, without.headers["Allow"]) == (405, "POST, DELETE")


def test_a_long_call_becomes_a_stream(sandbox: Sandbox) -> None:
    message = call("slow", arguments={"seconds": 5.5})
    [answer] = events(post(sandbox, message, begin(sandbox)))
    assert answer["result"]["content"][0]["text"] == "slow"


def test_a_crash_is_told_to_all_who_wait_and_mended(sandbox: Sandbox) -> None:
    session = begin(sandbox)
    fault = post(sandbox, call("crash"), session)
    body = fault.json if fault.headers["Content-Type"] == "application/json" else events(fault)[-1]
    assert body["error"]["code"] == -32000
    assert "exit status 3" in body["error"]["message"]
    assert "out of luck" in body["error"]["message"]
    assert post(sandbox, call("pid"), session).status == 404
    before = said(post(sandbox, call("pid")))
    assert "error" in post(sandbox, call("crash")).body.decode()
    assert said(post(sandbox, call("pid"))) != before


def test_end_of_a_session_ends_its_process(sandbox: Sandbox) -> None:
    session = begin(sandbox)
    pid = int(said(post(sandbox, call("pid"), session)))
    sandbox.call("DELETE", "/stdio/one/mcp", headers={SESSION: session})
    while os.path.exists(f"/proc/{pid}"):
        time.sleep(0.05)


def test_more_sessions_than_there_may_be(sandbox: Sandbox) -> None:
    sessions = [begin(sandbox) for _ in range(33)]
    assert post(sandbox, {"id": 1, "method": "ping"}, sessions[0]).status == 404
    assert post(sandbox, {"id": 1, "method": "ping"}, sessions[-1]).status == 200


def test_probe_tells_servers_from_other_programs(sandbox: Sandbox) -> None:
    assert sandbox.call("POST", "/stdio/one/probe").json["serverInfo"]["name"] == "stdio"
    sandbox.call("PUT", "/stdio/two", {"command": "echo cannot start >&2; exit 4"})
    answer = sandbox.call("POST", "/stdio/two/probe")
    assert answer.status == 422
    assert "exit status 4" in answer.json["error"]
    assert "cannot start" in answer.json["error"]
    sandbox.call("DELETE", "/stdio/two")


def test_logs_are_what_is_no_message(sandbox: Sandbox) -> None:
    begin(sandbox)
    stream = sandbox.open("GET", "/stdio/one/logs")
    lines = {stream.readline(), stream.readline()}
    assert lines == {b"a line that is no message\n", b"starting\n"}
    stream.close()


def test_logs_go_on_where_they_were_left_and_end_with_the_server(sandbox: Sandbox) -> None:
    begin(sandbox)
    stream = sandbox.open("GET", "/stdio/one/logs")
    both = [stream.readline(), stream.readline()]
    stream.close()
    rest = sandbox.open("GET", "/stdio/one/logs?since=1")
    assert rest.readline() == both[1]
    assert sandbox.call("DELETE", "/stdio/one").status == 200
    assert rest.read() == b""
    assert sandbox.call("GET", "/stdio/one/logs?since=x").status == 404
    assert sandbox.call("PUT", "/stdio/one", {"command": "true"}).status == 200
    assert sandbox.call("GET", "/stdio/one/logs?since=x").status == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [("{}", 400), ('{"command": " "}', 400), ("nonsense", 400), ('{"command": 3}', 400)],
)
def test_a_server_must_be_declared_well(sandbox: Sandbox, body: str, status: int) -> None:
    assert sandbox.call("PUT", "/stdio/bad", body).status == status


def test_bad_messages(sandbox: Sandbox) -> None:
    def send(body: str, **headers: str) -> Answer:
        return sandbox.call("POST", "/stdio/one/mcp", body, HEADERS | headers)

    assert send("{").status == 400
    assert send("[]").status == 400
    assert send("{}", **{"Content-Type": "text/plain"}).status == 415
    assert sandbox.call("POST", "/stdio/none/mcp", "{}", HEADERS).status == 404
    assert sandbox.call("DELETE", "/stdio/one/mcp").status == 400
    assert send('{"jsonrpc": "2.0", "id": 1, "method": "ping"}', **{SESSION: "x"}).status == 404
