"""What the sandbox says and does about itself: environment, upgrade, archive, drives, tunnels."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .client import Sandbox, eventually, running


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[Path]:
    """A metadata file that the sandbox of :func:`box` is told about."""
    os.environ["BL_METADATA_PATH"] = str(tmp_path / "metadata")
    yield tmp_path / "metadata"
    del os.environ["BL_METADATA_PATH"]


@pytest.fixture
def box(metadata: Path, tmp_path: Path) -> Iterator[Sandbox]:
    (tmp_path / "box").mkdir()
    with running(tmp_path / "box") as sandbox:
        yield sandbox


def test_the_environment_of_later_processes_is_reloaded(box: Sandbox, metadata: Path) -> None:
    assert box.call("POST", "/environment/reload").status == 404
    box.start("sleep 0.5; echo $NEW", name="earlier")
    first = {"NEW": "1", "FROM_CONFIG": "changed"}
    metadata.write_text(json.dumps({"generation": 3, "environment": first}))
    answer = box.call("POST", "/environment/reload")
    assert answer.json == {"generation": 3, "applied": 2, "removed": 0}
    assert box.run("echo $NEW $FROM_CONFIG")["stdout"] == "1 changed\n"
    metadata.write_text('{"generation": 4, "environment": {"NEW": "2"}}')
    answer = box.call("POST", "/environment/reload")
    assert answer.json == {"generation": 4, "applied": 1, "removed": 1}
    assert box.run("echo $NEW $FROM_CONFIG")["stdout"] == "2 yes\n"
    assert box.wait("earlier")["stdout"] == "\n"
    metadata.write_text('{"environment": {"BL_DISABLE_KEEPALIVE": "1"}}')
    box.call("POST", "/environment/reload")
    kept = box.call("POST", "/process", {"command": "true", "keepAlive": True})
    assert (kept.status, "keepAlive" in kept.json["error"]) == (400, True)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"environment": {"A": 1}}', '{"environment": {"A=B": "1"}}', "\xff"]
)
def test_a_broken_metadata_file(box: Sandbox, metadata: Path, content: str) -> None:
    metadata.write_text(content, encoding="latin-1")
    answer = box.call("POST", "/environment/reload")
    assert answer.status == 500
    assert str(metadata) in answer.json["error"]
    assert box.run("echo $FROM_CONFIG")["stdout"] == "yes\n"


def test_a_metadata_pipe_hangs_nobody(box: Sandbox, metadata: Path) -> None:
    os.mkfifo(metadata)
    assert box.call("POST", "/environment/reload").status == 500
    assert box.run("echo fine")["stdout"] == "fine\n"


def test_an_upgrade_leaves_processes_running(sandbox: Sandbox) -> None:
    before = sandbox.call("GET", "/health").json
    assert before["lastUpgrade"] == {"status": "idle", "step": "none", "version": ""}
    sandbox.start("sleep 30", name="through")
    answer = sandbox.call("POST", "/upgrade", {"version": "latest"})
    assert answer.status == 200
    assert answer.json["version"] == "latest"
    count = before["upgradeCount"] + 1
    eventually(lambda: sandbox.call("GET", "/health").json["upgradeCount"] == count)
    last = sandbox.call("GET", "/health").json["lastUpgrade"]
    assert (last["status"], last["step"]) == ("completed", "skipped")
    assert sandbox.call("GET", "/process/through").json["status"] == "running"
    sandbox.call("DELETE", "/process/through/kill")
    sandbox.call("POST", "/upgrade", {"version": "v0.0.1"})

    def failed() -> bool:
        last = sandbox.call("GET", "/health").json["lastUpgrade"]
        return last["status"] == "failed" and "provides version" in last["error"]

    eventually(failed)
    assert sandbox.call("GET", "/health").json["upgradeCount"] == count
    assert sandbox.call("POST", "/upgrade").status == 200, "the body is optional"


def test_a_sandbox_that_nothing_can_replace_says_so(box: Sandbox) -> None:
    count = box.call("GET", "/health").json["upgradeCount"]
    for version in ("latest", "9.9.9"):
        newer = {"X-Serai-Version": "9.9.9"}
        assert box.call("POST", "/upgrade", {"version": version}, newer).status == 200

        def told(wanted: str = version) -> bool:
            last = box.call("GET", "/health").json["lastUpgrade"]
            return bool(last["status"] == "failed" and last["version"] == wanted)

        eventually(told)
        health = box.call("GET", "/health").json
        assert "anew" in health["lastUpgrade"]["error"]
        assert health["upgradeCount"] == count


def test_archives_are_made_by_the_platform(sandbox: Sandbox) -> None:
    assert sandbox.call("GET", "/archive/status").json == {"state": "active"}
    assert sandbox.call("POST", "/archive/resume").json == {"state": "active"}
    answer = sandbox.call("POST", "/archive/export", {"dryRun": True})
    assert (answer.status, "platform" in answer.json["error"]) == (500, True)
    assert sandbox.call("GET", "/archive/content").status == 409
    assert sandbox.call("POST", "/archive/plan", {"dryRun": 1}).status == 400


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [({}, 400, "config"), ({"config": ""}, 400, "config"), ({"config": "e30="}, 500, "platform")],
)
def test_tunnels_are_made_by_the_platform(
    sandbox: Sandbox, body: dict[str, str], status: int, says: str
) -> None:
    answer = sandbox.call("PUT", "/network/tunnel/config", body)
    assert (answer.status, says in answer.json["error"]) == (status, True), answer.body


def test_there_is_no_tunnel_and_no_drive(sandbox: Sandbox) -> None:
    ended = sandbox.call("DELETE", "/network/tunnel")
    assert (ended.status, "platform" in ended.json["error"]) == (500, True)
    assert sandbox.call("GET", "/network/tunnel").status == 404
    assert sandbox.call("GET", "/drives/mount").json == {"mounts": []}
    assert sandbox.call("POST", "/drives/mount", {"driveName": "d"}).status == 400
    mount = sandbox.call("POST", "/drives/mount", {"driveName": "d", "mountPath": "/mnt/d"})
    assert (mount.status, "Failed to mount drive" in mount.json["error"]) == (500, True)
    gone = sandbox.call("DELETE", "/drives/mount/mnt/d")
    assert (gone.status, "/mnt/d" in gone.json["error"]) == (500, True)
    assert sandbox.call("DELETE", "/drives/mount/").status == 400
