"""The synchronous Python SDK: what a script or a notebook does with a sandbox."""

import time
import uuid

from blaxel.core.sandbox import SyncSandboxInstance
from blaxel.core.sandbox.types import SandboxUpdateMetadata

MARK = uuid.uuid4().hex[:8]
NAME = f"sync-{MARK}"
SERVE = "mkdir -p www && echo served > www/index.html && python3 -m http.server 3000 -d www"


def main() -> None:
    sandbox = SyncSandboxInstance.create({"name": NAME, "memory": 512, "labels": {"suite": MARK}})
    try:
        processes(sandbox)
        files(sandbox)
        sandbox.process.exec({"command": SERVE, "name": "web", "wait_for_ports": [3000]})
        answer = sandbox.fetch(3000, "/index.html")
        assert (answer.status_code, answer.text.strip()) == (200, "served"), answer
        updates()
    finally:
        sandbox.delete()
    unnamed_and_listed()
    print("done")


def processes(sandbox: SyncSandboxInstance) -> None:
    out: list[str] = []
    err: list[str] = []
    done = sandbox.process.exec(
        {
            "command": "echo to out; echo to err >&2; exit 3",
            "wait_for_completion": True,
            "on_stdout": out.append,
            "on_stderr": err.append,
        }
    )
    assert ("".join(out).strip(), "".join(err).strip()) == ("to out", "to err"), (out, err)
    assert done.exit_code == 3, done

    sandbox.process.exec(
        {"command": "for i in 1 2 3; do echo line $i; sleep 0.1; done", "name": "counter"}
    )
    lines: list[str] = []
    stream = sandbox.process.stream_logs("counter", {"on_log": lines.append})
    assert sandbox.process.wait("counter", max_wait=20_000, interval=100).exit_code == 0
    deadline = time.monotonic() + 10
    while len(lines) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    stream.close()
    assert lines == ["line 1", "line 2", "line 3"], lines
    assert sandbox.process.logs("counter").splitlines() == lines
    assert sandbox.process.get("counter").name == "counter"


def files(sandbox: SyncSandboxInstance) -> None:
    fs = sandbox.fs
    fs.write("/tmp/things/text.txt", "naïve\n")
    assert fs.read("/tmp/things/text.txt") == "naïve\n"
    large = bytes(range(251)) * 30_000  # 7.5 MB: two parts
    for content in (b"\x00\xff" * 1000, large):
        fs.write_binary("/tmp/things/data.bin", content)
        assert fs.read_binary("/tmp/things/data.bin") == content
    fs.write_tree([{"path": "deep/b.txt", "content": "2"}], "/tmp/things/tree")
    listed = fs.ls("/tmp/things")
    assert {f.name for f in listed.files} == {"text.txt", "data.bin"}, listed
    assert [d.name for d in listed.subdirectories] == ["tree"], listed
    fs.rm("/tmp/things/text.txt")
    assert [f.name for f in fs.ls("/tmp/things").files] == ["data.bin"]


def updates() -> None:
    changed = SyncSandboxInstance.update_metadata(
        NAME, SandboxUpdateMetadata(labels={"colour": "blue"})
    )
    labels = changed.metadata.labels
    assert (labels["colour"], labels["suite"]) == ("blue", MARK), labels
    assert SyncSandboxInstance.update_ttl(NAME, "45m").spec.runtime.ttl == "45m"
    same = SyncSandboxInstance.create_if_not_exists({"name": NAME, "memory": 512})
    assert same.fs.read("/tmp/things/tree/deep/b.txt") == "2", "neither may restart it"


def unnamed_and_listed() -> None:
    made = [SyncSandboxInstance.create({"memory": 256}) for _ in range(3)]
    names = {sandbox.metadata.name for sandbox in made}
    page = SyncSandboxInstance.list(limit=2)
    assert len(page.data) == 2, page.data
    seen = {sandbox.metadata.name for sandbox in page.auto_paging_iter()}
    assert names <= seen, seen
    for sandbox in made:
        SyncSandboxInstance.delete(sandbox.metadata.name)


if __name__ == "__main__":
    main()
