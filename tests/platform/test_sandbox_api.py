"""The sandbox API over the public address, and what hostile code cannot make of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from platform_server import KEY, Server

from .test_sandboxes import create, run

pytestmark = pytest.mark.sandbox
BOX = "/main/sandboxes/api"
SECRET = "a secret of the host"
MCP = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}


@pytest.fixture(scope="module", autouse=True)
def box(server: Server) -> Iterator[None]:
    with server.client_for(KEY) as api:
        create(api, "api")
        yield
        api.delete("/v0/sandboxes/api")


def tool(api: httpx.Client, name: str, **arguments: object) -> Any:
    """A tool's whole result."""
    params = {"name": name, "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    answer = api.post(f"{BOX}/mcp", json=message, headers=MCP)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def test_one_of_everything(api: httpx.Client) -> None:
    said = tool(api, "processExecute", command="hostname", waitForCompletion=True)
    assert said["structuredContent"]["logs"] == "api\n"
    process = {"command": "cat", "name": "cat", "stdin": True}
    assert api.post(f"{BOX}/process", json=process).status_code == 200
    assert api.post(f"{BOX}/process/cat/stdin", content=b"typed\n").status_code == 200
    assert api.delete(f"{BOX}/process/cat/stdin").status_code == 200
    assert api.get(f"{BOX}/process/cat/wait").json()["stdout"] == "typed\n"
    edit = {"codeEdit": "# ... existing code ...\nprint(1)\n"}
    assert api.put(f"{BOX}/codegen/fastapply//tmp/new.py", json=edit).status_code == 200
    copied = {"source": "/tmp/new.py", "destination": "/tmp/copy.py", "noOverwrite": True}
    assert api.post(f"{BOX}/filesystem-copy", json=copied).status_code == 200
    again = api.post(f"{BOX}/filesystem-copy", json=copied)
    assert (again.status_code, again.json()["code"]) == (409, "FILE_ALREADY_EXISTS")
    tree = api.get(f"{BOX}/filesystem/tree/tmp?recursive=true&content=true&patterns=*.py").json()
    assert {each["path"]: each["content"] for each in tree["files"]} == {
        "/tmp/copy.py": "print(1)\n",
        "/tmp/new.py": "print(1)\n",
    }
    assert api.head(f"{BOX}/filesystem//tmp/copy.py").headers["x-file-type"] == "file"


@pytest.fixture
def ways(api: httpx.Client, tmp_path: Path) -> list[str]:
    """Names inside that could lead to a file of the host, if anything followed them outside."""
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    run(api, "api", f"ln -sfn {secret} /tmp/link; ln -sfn / /tmp/top; mkdir -p /tmp/d")
    up = "../" * 30
    return [
        str(secret), "/tmp/link", f"/tmp/top{secret}", f"{up}{secret}", f"/proc/1/root{secret}",
        f"/proc/self/cwd/{up}{secret}", f"//{secret}", f"~/{up}{secret}",
    ]  # fmt: skip


def test_no_name_leads_to_the_host(api: httpx.Client, ways: list[str]) -> None:
    for way in ways:
        quoted = way.replace("/", "%2F")
        copied = {"source": way, "destination": "/tmp/stolen"}
        answers = [
            api.get(f"{BOX}/filesystem/{quoted}"),
            api.get(f"{BOX}/filesystem/{quoted}", headers={"Accept": "application/octet-stream"}),
            api.get(f"{BOX}/filesystem/tree/{quoted}?recursive=true&content=true"),
            api.get(f"{BOX}/filesystem-content-search/{quoted}?query=secret"),
            api.get(f"{BOX}/codegen/reranking/{quoted}?query=secret&scoreThreshold=0"),
            api.post(f"{BOX}/filesystem-copy", json=copied),
        ]
        results = [
            tool(api, "fsReadFile", path=way),
            tool(api, "fsEditFile", path=way, oldString="secret", newString="x"),
            tool(api, "codegenReadFileRange", targetFile=way, startLineOneIndexed=1,
                 endLineOneIndexedInclusive=1),
        ]  # fmt: skip
        assert SECRET not in "".join(answer.text for answer in answers), way
        assert SECRET not in json.dumps(results), way
        assert all(answer.status_code >= 400 for answer in answers[:2]), way


def test_nothing_is_written_outside(api: httpx.Client, ways: list[str], tmp_path: Path) -> None:
    for way in ways:
        edit = {"codeEdit": "overwritten"}
        api.put(f"{BOX}/codegen/fastapply/{way.replace('/', '%2F')}", json=edit)
        tool(api, "fsWriteFile", path=way, content="overwritten")
        api.put(f"{BOX}/filesystem/tree//tmp/d", json={"files": {way: "overwritten"}})
        tool(api, "fsDeleteFileOrDirectory", path=way, recursive=True)
    assert (tmp_path / "secret.txt").read_text() == SECRET
    assert [each.name for each in tmp_path.iterdir()] == ["secret.txt"]


def test_the_api_itself_cannot_be_read(api: httpx.Client) -> None:
    for name in ("environ", "mem", "fd/3", "maps"):
        for path in (f"/proc/1/{name}", f"/proc/self/{name}"):
            text = api.get(f"{BOX}/filesystem/{path}").text
            assert KEY not in text
            assert name == "maps" or "error" in text, path
    said = run(api, "api", "cat /proc/1/environ; ls /proc/1/fd; kill -9 1; head -c1 /proc/1/mem")
    assert KEY not in said["logs"]
    assert api.get(f"{BOX}/health").status_code == 200
