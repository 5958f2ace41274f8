"""The asynchronous Python SDK: a sandbox's whole life, as a user's program goes through it."""

import asyncio
import sys
import uuid

from blaxel.core import SandboxInstance
from blaxel.core.sandbox.types import SandboxUpdateMetadata

MARK = uuid.uuid4().hex[:8]
SERVE = "mkdir -p www && echo served > www/index.html && python3 -m http.server 3000 -d www"


async def main() -> None:
    sandbox = await SandboxInstance.create(
        {
            "name": f"async-{MARK}",
            "image": "blaxel/base-image:latest",
            "memory": 512,
            "labels": {"suite": MARK},
            "envs": [{"name": "GREETING", "value": "grüß dich"}],
            "ttl": "30m",
        }
    )
    try:
        assert sandbox.metadata.name == f"async-{MARK}"
        assert str(sandbox.status) in ("DEPLOYED", "Status.DEPLOYED"), sandbox.status
        await processes(sandbox)
        await files(sandbox)
        await ports(sandbox)
        await updates(sandbox)
    finally:
        await sandbox.delete()
    await unnamed_and_listed()
    await one_of_five()
    print("done")


async def processes(sandbox: SandboxInstance) -> None:
    out: list[str] = []
    err: list[str] = []
    both: list[str] = []
    done = await sandbox.process.exec(
        {
            "command": "echo $GREETING; echo oops >&2; for i in 1 2 3; do echo $i; done; exit 7",
            "wait_for_completion": True,
            "on_stdout": out.append,
            "on_stderr": err.append,
            "on_log": both.append,
        }
    )
    assert "".join(out).split() == ["grüß", "dich", "1", "2", "3"], out
    assert "".join(err).strip() == "oops", err
    assert len(both) >= 2, both
    assert (done.exit_code, str(done.status).rpartition(".")[2]) == (7, "failed"), done

    quiet = await sandbox.process.exec({"command": "pwd", "wait_for_completion": True})
    assert quiet.stdout.strip().startswith("/"), quiet

    await sandbox.process.exec(
        {"command": "for i in 1 2 3; do echo line $i; sleep 0.2; done", "name": "counter"}
    )
    lines: list[str] = []
    stream = sandbox.process.stream_logs("counter", {"on_log": lines.append})
    ended = await sandbox.process.wait("counter", max_wait=20_000, interval=100)
    assert ended.exit_code == 0, ended
    for _ in range(100):
        if len(lines) >= 3:
            break
        await asyncio.sleep(0.05)
    stream.close()
    assert lines == ["line 1", "line 2", "line 3"], lines
    assert (await sandbox.process.logs("counter", "stdout")).splitlines() == lines

    await sandbox.process.exec({"command": "sleep 600", "name": "sleeper"})
    await sandbox.process.kill("sleeper")
    names = {process.name: process for process in await sandbox.process.list()}
    assert {"counter", "sleeper"} <= names.keys(), names
    killed = await sandbox.process.wait("sleeper", max_wait=10_000, interval=50)
    assert str(killed.status).rpartition(".")[2] == "killed", killed


async def files(sandbox: SandboxInstance) -> None:
    fs = sandbox.fs
    await fs.mkdir("/tmp/things")
    await fs.write("/tmp/things/ünï cödé.txt", "naïve\n")
    assert await fs.read("/tmp/things/ünï cödé.txt") == "naïve\n"
    await fs.write("relative.txt", "beside")
    assert await fs.read("relative.txt") == "beside"

    small = bytes(range(256)) * 64
    await fs.write_binary("/tmp/things/small.bin", small)
    assert await fs.read_binary("/tmp/things/small.bin") == small
    large = bytes(range(251)) * 50_000  # 12.5 MB: three parts
    await fs.write_binary("/tmp/things/large.bin", large)
    assert await fs.read_binary("/tmp/things/large.bin") == large

    await fs.write_tree(
        [{"path": "a.txt", "content": "1"}, {"path": "deep/b.txt", "content": "2"}],
        "/tmp/things/tree",
    )
    listed = await fs.ls("/tmp/things")
    assert {f.name for f in listed.files} == {"ünï cödé.txt", "small.bin", "large.bin"}, listed
    assert [d.name for d in listed.subdirectories] == ["tree"], listed
    assert await fs.read("/tmp/things/tree/deep/b.txt") == "2"
    await fs.cp("/tmp/things/tree", "/tmp/things/copy")
    assert await fs.read("/tmp/things/copy/a.txt") == "1"
    await fs.rm("/tmp/things/tree", recursive=True)
    assert [d.name for d in (await fs.ls("/tmp/things")).subdirectories] == ["copy"]


async def ports(sandbox: SandboxInstance) -> None:
    await sandbox.process.exec({"command": SERVE, "name": "web", "wait_for_ports": [3000]})
    answer = await sandbox.fetch(3000, "/index.html")
    assert (answer.status_code, answer.text.strip()) == (200, "served"), answer
    assert (await sandbox.fetch(3000, "/absent")).status_code == 404


async def updates(sandbox: SandboxInstance) -> None:
    name = sandbox.metadata.name
    changed = await SandboxInstance.update_metadata(
        name, SandboxUpdateMetadata(labels={"colour": "blue"}, display_name="Blue")
    )
    assert changed.metadata.display_name == "Blue"
    assert changed.metadata.labels["colour"] == "blue"
    assert changed.metadata.labels["suite"] == MARK
    assert (await SandboxInstance.update_ttl(name, "45m")).spec.runtime.ttl == "45m"
    cleared = await SandboxInstance.update_ttl(name, None)
    assert not cleared.spec.runtime.ttl, cleared.spec.runtime.ttl
    fresh = await SandboxInstance.get(name)
    assert await fresh.fs.read("relative.txt") == "beside", "an update must not restart it"


async def unnamed_and_listed() -> None:
    made = [await SandboxInstance.create({"memory": 256}) for _ in range(3)]
    names = {sandbox.metadata.name for sandbox in made}
    assert len(names) == 3, names
    page = await SandboxInstance.list(limit=2)
    assert len(page.data) == 2, page.data
    assert page.has_more
    seen = [sandbox.metadata.name async for sandbox in page.auto_paging_iter()]
    assert names <= set(seen), seen
    assert len(seen) == len(set(seen)), seen
    for sandbox in made:
        await SandboxInstance.delete(sandbox.metadata.name)
    left = [s.metadata.name async for s in (await SandboxInstance.list()).auto_paging_iter()]
    assert not names & set(left), left


async def one_of_five() -> None:
    config = {"name": f"once-{MARK}", "memory": 256}
    several = await asyncio.gather(
        *(SandboxInstance.create_if_not_exists(dict(config)) for _ in range(5))
    )
    moments = {str(sandbox.metadata.created_at) for sandbox in several}
    assert len(moments) == 1, moments
    await several[0].fs.write("/tmp/only", "one")
    assert await several[4].fs.read("/tmp/only") == "one"
    await several[0].delete()
    again = await SandboxInstance.create_if_not_exists(dict(config))
    assert str(again.metadata.created_at) not in moments, "deleted, so it must be made anew"
    await again.delete()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
