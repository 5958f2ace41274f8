"""The MCP server: its transport, its tools, and their results."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from .client import Answer, Sandbox

HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
}


def post(sandbox: Sandbox, message: object, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = message if isinstance(message, str) else json.dumps(message)
    return sandbox.call("POST", "/mcp", body, {**HEADERS, **named})


def ask(sandbox: Sandbox, method: str, **params: object) -> Any:
    message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    answer = post(sandbox, message)
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["id"] == 7
    return answer.json


def call(sandbox: Sandbox, tool: str, **arguments: object) -> Any:
    """A tool's result; both of its forms must say the same."""
    result = ask(sandbox, "tools/call", name=tool, arguments=arguments)["result"]
    assert "isError" not in result, result
    [content] = result["content"]
    assert json.loads(content["text"]) == result["structuredContent"]
    return result["structuredContent"]


def refusal(sandbox: Sandbox, tool: str, **arguments: object) -> str:
    result = ask(sandbox, "tools/call", name=tool, arguments=arguments)["result"]
    assert result["isError"] is True, result
    assert "structuredContent" not in result
    return str(result["content"][0]["text"])


def test_the_first_words(sandbox: Sandbox) -> None:
    for asked, given in (("2025-03-26", "2025-03-26"), ("1999-01-01", "2025-11-25")):
        result = ask(sandbox, "initialize", protocolVersion=asked, capabilities={})["result"]
        assert result["protocolVersion"] == given
        assert result["serverInfo"]["name"] == "Sandbox API Server"
        assert "tools" in result["capabilities"]
    assert post(sandbox, {"jsonrpc": "2.0", "method": "notifications/initialized"}).status == 202
    assert post(sandbox, {"jsonrpc": "2.0", "id": 1, "result": {}}).status == 202
    assert ask(sandbox, "ping")["result"] == {}
    assert ask(sandbox, "logging/setLevel", level="info")["result"] == {}


def test_transport_rules(sandbox: Sandbox) -> None:
    ping = {"jsonrpc": "2.0", "id": "a", "method": "ping"}
    assert post(sandbox, ping, MCP_Protocol_Version="2025-06-18").json["id"] == "a"
    assert post(sandbox, ping, MCP_Protocol_Version="2001-01-01").status == 400
    assert post(sandbox, ping, Content_Type="text/plain").status == 415
    assert post(sandbox, ping, Accept="application/json").status == 400
    assert post(sandbox, '"' + "x" * 5_000_000 + '"').status == 413
    listening = sandbox.call("GET", "/mcp", headers={"Accept": "text/event-stream"})
    assert listening.status == 405
    assert "POST" in listening.json["error"]
    assert sandbox.call("DELETE", "/mcp").status == 404


@pytest.mark.parametrize(
    ("message", "status", "code"),
    [
        ("{", 400, -32700),
        ("[]", 400, -32600),
        ("5", 400, -32600),
        ({"jsonrpc": "1.0", "id": 1, "method": "ping"}, 200, -32600),
        ({"jsonrpc": "2.0", "id": [], "method": "ping"}, 200, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}, 200, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": 5}, 200, -32601),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/gone"}, 200, -32601),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/call"}, 200, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"}}, 200, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "logging/setLevel"}, 200, -32602),
    ],
)
def test_broken_messages(sandbox: Sandbox, message: object, status: int, code: int) -> None:
    answer = post(sandbox, message)
    assert (answer.status, answer.json["error"]["code"]) == (status, code)


def test_nesting_without_end(sandbox: Sandbox) -> None:
    for path in ("/mcp", "/process", "/drives/mount"):
        answer = sandbox.call("POST", path, '{"a":' * 100_000, HEADERS)
        assert (answer.status, "nested" in answer.json["error"]) == (400, True), path


def plain(schema: Any, *, nulls: bool) -> Any:
    """A schema without descriptions, which are nobody's contract."""
    if isinstance(schema, dict):
        kept = {k: v for k, v in schema.items() if k != "description" or isinstance(v, dict)}
        return {key: plain(value, nulls=nulls) for key, value in kept.items()}
    if isinstance(schema, list):
        items = [plain(each, nulls=nulls) for each in schema]
        if not nulls and len(items) == 2 and "null" in items:
            return next(each for each in items if each != "null")
        return items
    return schema


def test_tools_have_the_names_and_shapes_clients_know(sandbox: Sandbox) -> None:
    contract = Path(__file__).parents[3] / "shared/spec/sandbox-mcp-tools.json"
    tools = {tool["name"]: tool for tool in ask(sandbox, "tools/list")["result"]["tools"]}
    assert len(tools) == 21
    assert list(tools) == sorted(tools)
    assert all(tool["description"] for tool in tools.values())
    if not contract.exists():
        pytest.skip("NOT TESTED: the contract's list of tools is not on this machine")
    known = {tool["name"]: tool for tool in json.loads(contract.read_text())["tools"]}
    assert tools.keys() == known.keys()
    for name, tool in known.items():
        ours = tools[name]
        assert plain(ours["inputSchema"], nulls=True) == plain(tool["inputSchema"], nulls=True)
        # where the contract allows null, we may always give the value
        assert plain(ours["outputSchema"], nulls=False) == plain(tool["outputSchema"], nulls=False)


def test_running_commands(sandbox: Sandbox) -> None:
    done = call(sandbox, "processExecute", command="pwd; exit 3", waitForCompletion=True, name="t1")
    assert (done["status"], done["exitCode"], done["logs"]) == ("failed", 3, "/\n")
    assert done.keys() == {"pid", "name", "status", "exitCode", "logs"}
    assert call(sandbox, "processGet", identifier="t1")["exitCode"] == 3
    assert call(sandbox, "processGetLogs", identifier="t1") == {"logs": "/\n"}
    assert "t1" in {each["name"] for each in call(sandbox, "processesList")["processes"]}
    assert refusal(sandbox, "processGet", identifier="no") == (
        "failed to get process: process not found"
    )
    env = call(sandbox, "processExecute", command="echo $A", env={"A": "b"}, waitForCompletion=True)
    assert env["logs"] == "b\n"


def test_stopping_and_killing(sandbox: Sandbox) -> None:
    for tool, status in (("processStop", "stopped"), ("processKill", "killed")):
        name = f"to-be-{status}"
        begun = call(sandbox, "processExecute", command="exec sleep 50", name=name)
        assert begun["status"] == "running"
        assert call(sandbox, tool, identifier=name) == {"status": status}
        sandbox.wait(name)
        assert call(sandbox, "processGet", identifier=name)["status"] == status
    assert "not found" in refusal(sandbox, "processStop", identifier="nobody")


def test_a_wait_that_is_too_long(sandbox: Sandbox) -> None:
    said = refusal(
        sandbox, "processExecute", command="sleep 5", name="long", waitForCompletion=True, timeout=1
    )
    assert said == "process timed out after 1 seconds"
    assert call(sandbox, "processGet", identifier="long")["status"] == "running"


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("processExecute", {}, "command"),
        ("processExecute", {"command": 5}, "$.command"),
        ("processExecute", {"command": "x", "cmd": "y"}, "cmd"),
        ("processExecute", {"command": ""}, "command"),
        ("processExecute", {"command": "x", "workingDir": "/no/such"}, "/no/such"),
        ("fsReadFile", {"path": "a\0b"}, "NUL"),
        ("fsReadFile", {"path": "/no/such"}, "no such file"),
        ("fsReadFile", {"path": "/"}, "directory"),
        ("fsListDirectory", {"path": "/etc/passwd"}, "not a directory"),
        ("fsWriteFile", {"path": "x", "permissions": "9z"}, "9z"),
        ("fsDeleteFileOrDirectory", {"path": "/no/such"}, "not found"),
        ("fsEditFile", {"path": "x", "oldString": "", "newString": "y"}, "non-empty"),
        ("fsEditFile", {"path": "x", "oldString": "y", "newString": "y"}, "identical"),
        ("fsEditFile", {"path": "/no/such", "oldString": "x", "newString": "y"}, "does not exist"),
        ("codegenReadFileRange", {"targetFile": "x"}, "startLine"),
        ("codegenGrepSearch", {"query": "("}, "grep search failed"),
        ("codegenGrepSearch", {"query": "nowhere-at-all"}, "exit status 1"),
    ],
)
def test_bad_arguments(
    sandbox: Sandbox, tool: str, arguments: dict[str, object], says: str
) -> None:
    assert says in refusal(sandbox, tool, **arguments)


def test_files(sandbox: Sandbox, tmp_path: Path) -> None:
    path = f"{tmp_path}/d/f.txt"
    assert call(sandbox, "fsGetWorkingDirectory") == {"path": str(sandbox.workdir)}
    made = call(sandbox, "fsWriteFile", path=path, content="one two two")
    assert made == {"path": path, "message": "File created/updated successfully"}
    read = call(sandbox, "fsReadFile", path=path)
    assert (read["name"], read["content"], read["size"]) == (path, "one two two", 11)
    assert "2 locations" in refusal(
        sandbox, "fsEditFile", path=path, oldString="two", newString="x"
    )
    assert "not found" in refusal(sandbox, "fsEditFile", path=path, oldString="ten", newString="x")
    edit = {"oldString": "two", "newString": "2", "replaceAll": True}
    assert call(sandbox, "fsEditFile", path=path, **edit)["occurrencesReplaced"] == 2
    assert Path(path).read_text() == "one 2 2"
    folder = call(sandbox, "fsWriteFile", path=f"{tmp_path}/e", isDirectory=True)
    assert folder["message"] == "Directory created successfully"
    assert (tmp_path / "e").stat().st_mode & 0o777 == 0o755
    listed = call(sandbox, "fsListDirectory", path=str(tmp_path))["directory"]
    assert [each["name"] for each in listed["subdirectories"]] == ["d", "e"]
    assert "not empty" in refusal(sandbox, "fsDeleteFileOrDirectory", path=f"{tmp_path}/d")
    gone = call(sandbox, "fsDeleteFileOrDirectory", path=f"{tmp_path}/d", recursive=True)
    assert gone["message"] == "Directory deleted successfully"


def test_answers_stay_small(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 5_000_000)
    assert "codegenReadFileRange" in refusal(sandbox, "fsReadFile", path=f"{tmp_path}/big")
    sandbox.run("head -c 100000 /dev/zero | tr '\\0' x", name="loud")
    listed = {each["name"]: each for each in call(sandbox, "processesList")["processes"]}
    assert len(listed["loud"]["stdout"]) < 5000


def test_code(sandbox: Sandbox) -> None:
    folder = sandbox.workdir / "code"
    folder.mkdir()
    (folder / "greeting.py").write_text("def hello():\n    return 'hi'\n\n\nhello()\n")
    (folder / "other.py").write_text("x = 1\n")
    found = call(sandbox, "codegenFileSearch", query="greetpy", directory="code")
    assert found["matches"] == [f"{folder}/greeting.py"]
    assert call(sandbox, "codegenCodebaseSearch", query="hello function")["results"] == [
        f"{folder}/greeting.py"
    ]
    lines = call(sandbox, "codegenGrepSearch", query=r"HEL+o\(", includePattern="*.py")["results"]
    hits = [json.loads(line)["data"] for line in lines.splitlines()]
    assert [(hit["path"]["text"], hit["line_number"]) for hit in hits] == [
        ("code/greeting.py", 1),
        ("code/greeting.py", 5),
    ]
    assert hits[1]["absolute_offset"] == 31
    asked = {"targetFile": "code/greeting.py", "startLineOneIndexed": 1}
    part = call(sandbox, "codegenReadFileRange", **asked, endLineOneIndexedInclusive=2)
    assert part["content"] == "def hello():\n    return 'hi'"
    wrong = refusal(sandbox, "codegenReadFileRange", **asked, endLineOneIndexedInclusive=99)
    assert "invalid line range" in wrong
    listed = call(sandbox, "codegenListDir", relativeWorkspacePath="code")
    assert len(listed["directory"]["files"]) == 2
    edit = "# ... existing code ...\ndef hello():\n    return 'hello'\n# ... existing code ..."
    changed = call(
        sandbox, "codegenEditFile", targetFile="code/greeting.py", instructions="", codeEdit=edit
    )
    assert "+    return 'hello'" in changed["changesApplied"]
    ranked = call(sandbox, "codegenRerank", path="code", query="hello", scoreThreshold=0.1)
    assert [each["path"] for each in ranked["files"]] == [f"{folder}/greeting.py"]
    for tool, arguments in (
        ("codegenReapply", {"targetFile": "x"}),
        ("codegenParallelApply", {"editPlan": "x", "editRegions": None}),
    ):
        assert call(sandbox, tool, **arguments)["success"] is False


def test_a_client_that_leaves_does_not_stop_what_it_started(sandbox: Sandbox) -> None:
    message = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "processExecute", "arguments": {
            "command": "sleep 0.5; echo through", "name": "orphan", "waitForCompletion": True}},
    }  # fmt: skip
    body = json.dumps(message).encode()
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    with sandbox.raw() as raw:
        raw.sendall(f"POST /mcp HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode())
        raw.sendall(body)
        time.sleep(0.2)
    assert sandbox.wait("orphan")["stdout"] == "through\n"
