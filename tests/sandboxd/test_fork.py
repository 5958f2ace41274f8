"""The API as the runtime starts it: forked from a process that has loaded everything."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .client import Sandbox, UnixConnection
from .test_files import form
from .test_terminal import HANDSHAKE, KEY, masked, read_until


@pytest.fixture
def forked(tmp_path: Path) -> Iterator[Sandbox]:
    script = Path(__file__).with_name("forked.py")
    environment = {**os.environ, "IMPORT_LOG": str(tmp_path / "imports")}
    zygote = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert zygote.stdout is not None
    child = int(zygote.stdout.readline())
    try:
        yield Sandbox(tmp_path / "api", tmp_path / "port", child, tmp_path / "made/on/start")
    finally:
        os.kill(child, signal.SIGTERM)
        zygote.wait(20)
        zygote.stdout.close()


def private_kb(pid: int) -> int:
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(row.split()[1]) for row in rows if row.startswith("Private_"))


def use_everything(box: Sandbox, directory: Path) -> None:
    home = str(directory)
    box.call("GET", "/health")
    box.call("POST", "/process", "{")
    box.call("GET", "/process/none")
    box.call("GET", "/nope")
    box.run("no-such-command; exit 1", restartOnFailure=True, maxRestarts=1)
    box.run("echo é", name="uni")
    for path in ("/process", "/process/uni", "/process/uni/logs", "/process/uni/wait?timeout=1"):
        assert box.call("GET", path).status == 200
    box.call("GET", "/process/uni/logs/stream")
    box.call("POST", "/process", {"command": "printf x"}, {"Accept": "text/event-stream"})
    box.call("POST", "/process", {"command": "sleep 9", "waitForPorts": [1], "timeout": 1})
    box.start("sleep 9", name="s")
    box.call("GET", f"/network/process/{box.call('GET', '/process/s').json['pid']}/ports")
    box.call("DELETE", "/process/s")
    box.call("PUT", f"/filesystem/{home}/import.py", {"content": "import os é"})
    box.call("PUT", f"/filesystem/{home}/f.py", {"content": 5, "permissions": "9"})
    body, kind = form(("permissions", None, b"0600"), ("file", "n", b"1" * 1000))
    headers = {"Content-Type": kind}
    box.call("PUT", f"/filesystem/{home}/b.bin", body, headers)
    raw = {"Accept": "application/octet-stream"}
    assert box.call("GET", f"/filesystem/{home}/b.bin", headers=raw).body == b"1" * 1000
    box.call("GET", f"/filesystem/{home}")
    box.call("GET", f"/filesystem/{home}/none")
    box.call("PUT", f"/filesystem/tree/{home}/t", {"files": {"a/b": "c"}})
    for route in ("find", "search", "content-search"):
        path = f"/filesystem-{route}/{home}?query=import&patterns=*.py&filePattern=*.py"
        assert box.call("GET", path).json["total"] >= 1
    begun = box.call("POST", f"/filesystem-multipart/initiate/{home}/m", {}).json
    base = f"/filesystem-multipart/{begun['uploadId']}"
    part = box.call("PUT", f"{base}/part?partNumber=1", body, headers).json
    box.call("GET", "/filesystem-multipart")
    assert box.call("POST", f"{base}/complete", {"parts": [part]}).status == 200
    box.call("DELETE", f"/filesystem/tree/{home}/t?recursive=true")
    box.call("GET", f"/filesystem/tree/{home}?recursive=true&content=true")
    box.call("HEAD", f"/filesystem/{home}/w")
    copied = {"source": f"{home}/f.py", "destination": f"{home}/import.py", "noOverwrite": True}
    assert box.call("POST", "/filesystem-copy", copied).status == 404
    box.start("cat", name="fed", stdin=True)
    assert box.call("POST", "/process/fed/stdin", "x").status == 200
    pid = box.call("GET", "/process/fed").json["pid"]
    box.call("POST", f"/network/process/{pid}/monitor", {"callback": "http://localhost:1/é"})
    box.call("POST", f"/network/process/{pid}/monitor", {"callback": "http://localhost:1/x"})
    box.call("DELETE", "/process/fed/stdin")
    use_codegen(box, home)
    use_terminal(box)
    box.call("POST", "/upgrade", {"version": "x"})
    box.call("POST", "/environment/reload")
    box.call("PUT", "/network/tunnel/config", {"config": "e30="})
    watch = box.open("GET", f"/watch/filesystem/{home}/**")
    box.call("PUT", f"/filesystem/{home}/w", {"content": ""})
    assert b"CREATE" in watch.readline()
    watch.close()


def use_codegen(box: Sandbox, home: str) -> None:
    edit = {"codeEdit": "# ... existing code ...\nprint('é')\n"}
    for _ in range(2):
        assert box.call("PUT", f"/codegen/fastapply/{home}/e.py", edit).status == 200
    edit = {"codeEdit": "# ... existing code ...\nnowhere\n# ... existing code ..."}
    assert box.call("PUT", f"/codegen/fastapply/{home}/e.py", edit).status == 422
    assert box.call("GET", f"/codegen/reranking/{home}?query=print&filePattern=py").status == 200
    headers = {"Content-Type": "application/json", "Accept": "*/*"}
    for name, arguments in (
        ("processExecute", {"command": "true", "waitForCompletion": True}),
        ("processExecute", {"command": 1}),
        ("codegenGrepSearch", {"query": "print"}),
        ("codegenEditFile", {"targetFile": "x", "instructions": "", **edit}),
        ("codegenFileSearch", {"query": "e"}),
        ("fsListDirectory", {"path": home}),
    ):
        params = {"name": name, "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        assert "result" in box.call("POST", "/mcp", message, headers).json
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    assert len(box.call("POST", "/mcp", message, headers).json["result"]["tools"]) == 21


def use_terminal(box: Sandbox) -> None:
    assert box.call("GET", "/terminal").status == 200
    with box.raw() as raw:
        raw.sendall(HANDSHAKE.format(key=KEY).encode())
        typed = b'{"type":"input","data":"echo done-$((1+1)); exit\\n"}'
        raw.sendall(masked(1, typed) + masked(1, b"{") + masked(1, b"\xff"))
        assert b"done-2" in read_until(raw, b"done-2")
    with box.raw() as raw:
        wrong = HANDSHAKE.replace("/bin/sh", "/nope").replace("=raw", "=no")
        raw.sendall(wrong.format(key=KEY).encode())
        assert b"fork/exec /nope" in read_until(raw, b"/nope")


def test_nothing_is_imported_after_the_fork(forked: Sandbox, tmp_path: Path) -> None:
    use_everything(forked, tmp_path)
    log = tmp_path / "imports"
    assert not log.exists(), log.read_text()


def test_only_the_given_environment_is_seen(forked: Sandbox) -> None:
    seen = dict(row.split("=", 1) for row in forked.run("env")["stdout"].splitlines())
    assert seen.keys() <= {"ONLY", "HOME", "PATH", "HOSTNAME", "PWD", "SHLVL", "_"}
    assert (seen["ONLY"], seen["HOSTNAME"]) == ("this", "box")
    assert forked.workdir.is_dir()


def test_an_idle_sandbox_is_small(forked: Sandbox) -> None:
    connection = UnixConnection(forked.api)
    connection.request("GET", "/health")
    connection.getresponse().read()
    assert private_kb(forked.pid) < 8 * 1024
    connection.close()
