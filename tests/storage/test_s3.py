"""Drives over S3, with the server of others that Serai runs for it, and curl as the client."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from platform_server import KEY, Server, free_port
from serai.runtime.host import is_host_root

PROGRAMS = Path(__file__).parents[2] / ".cache" / "programs"
"""Where ``make test-s3`` builds the S3 server."""
PATH = f"{os.environ['PATH']}:{PROGRAMS}"
pytestmark = [
    pytest.mark.skipif(
        not is_host_root() or shutil.which("versitygw", path=PATH) is None,
        reason="needs root and versitygw: `make test-s3` builds it where Go is",
    ),
]
DENIED = 403


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with an S3 endpoint."""
    data_dir = tmp_path_factory.mktemp("s3") / "data"
    server = Server(data_dir, SERAI_S3_PORT=str(free_port()), PATH=PATH)
    yield server.start()
    server.stop()


@pytest.fixture
def api(own: Server) -> Iterator[httpx.Client]:
    """An admin's client."""
    with own.client_for(KEY, **{"X-Blaxel-Workspace": "main"}) as client:
        yield client


def key_of(api: httpx.Client, workspace: str = "main") -> tuple[str, str, str]:
    """A new service account's client id, and the id and secret of its key."""
    there = {"X-Blaxel-Workspace": workspace}
    account = api.post("/v0/service_accounts", json={"name": "s3"}, headers=there).json()
    path = f"/v0/service_accounts/{account['client_id']}/api_keys"
    key = api.post(path, json={"name": "k"}, headers=there).json()
    return account["client_id"], key["id"], key["apiKey"]


def drive(api: httpx.Client, name: str, workspace: str = "main") -> dict[str, Any]:
    """A new drive."""
    body = {"metadata": {"name": name}, "spec": {}}
    made = api.post("/v0/drives", json=body, headers={"X-Blaxel-Workspace": workspace})
    assert made.status_code == 200, made.text
    found: dict[str, Any] = made.json()
    return found


def ask(key: tuple[str, str, str], url: str, *more: str) -> tuple[int, str]:
    """Sign a request as S3 clients do."""
    command = ["curl", "-s", "--path-as-is", "-w", "\n%{http_code}", *more]
    command += ["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]
    command += ["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", f"{key[1]}:{key[2]}", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    text, _, status = done.stdout.rpartition("\n")
    return int(status), text


def until(key: tuple[str, str, str], url: str, wanted: int, *more: str) -> str:
    """Ask until the answer is this one: changes take about a second."""
    for _ in range(100):
        status, text = ask(key, url, *more)
        if status == wanted:
            return text
        time.sleep(0.1)
    raise AssertionError((status, text))


def test_s3_shows_what_sandboxes_see(api: httpx.Client, own: Server, tmp_path: Path) -> None:
    made, key = drive(api, "files"), key_of(api)
    bucket = made["state"]["s3Url"]
    assert api.get("/v0/drives/files").json()["state"] == made["state"]
    assert "x</Key>" not in until(key, f"{bucket}?list-type=2", 200)
    (tmp_path / "up").write_bytes(b"by S3")
    assert ask(key, f"{bucket}/in/file", "-T", str(tmp_path / "up"))[0] == 200
    sandbox = {"metadata": {"name": "box"}, "spec": {"runtime": {"memory": 512}}}
    assert api.post("/v0/sandboxes", json=sandbox).status_code == 200
    wanted = {"driveName": "files", "mountPath": "/d"}
    assert api.post("/main/sandboxes/box/drives/mount", json=wanted).status_code == 200
    command = "cat /d/in/file; stat -c %u /d/in/file; echo inside > /d/x; ln -s /meta /d/up; "
    command += "ln -s /known/users.json /d/in/users; ln -s /etc/passwd /d/passwd"
    body = {"command": command, "waitForCompletion": True}
    said = api.post("/main/sandboxes/box/process", json=body).json()
    assert said["logs"] == "by S30\n"
    assert ask(key, f"{bucket}/x") == (200, "inside\n")
    assert "<Key>x</Key>" in ask(key, f"{bucket}?list-type=2")[1]
    for way in ("in/users", "passwd", "up/x", "../known/users.json", "in/..%2F..%2Fknown"):
        status, text = ask(key, f"{bucket}/{way}")
        assert status >= 400, (way, text)
        assert "secret" not in text
        assert "root:" not in text
    assert api.delete("/v0/sandboxes/box").status_code == 200


def test_keys_reach_the_drives_of_their_workspace_as_long_as_they_live(
    api: httpx.Client,
) -> None:
    other = api.post("/v0/workspaces", json={"name": "other-team"})
    assert other.status_code == 200, other.text
    mine, theirs = key_of(api), key_of(api, "other-team")
    bucket = drive(api, "mine")["state"]["s3Url"]
    until(mine, f"{bucket}?list-type=2", 200)
    assert ask(theirs, f"{bucket}?list-type=2")[0] == DENIED
    assert ask((*mine[:2], theirs[2]), f"{bucket}?list-type=2")[0] == DENIED
    endpoint = bucket.rpartition("/")[0]
    assert ask(mine, f"{endpoint}/new-bucket", "-X", "PUT")[0] == DENIED
    assert ask(mine, f"{bucket}?acl", "-X", "PUT", "-H", "x-amz-acl: public-read")[0] >= 400
    assert httpx.get(f"{bucket}?list-type=2", trust_env=False).status_code >= 400
    assert api.delete(f"/v0/service_accounts/{mine[0]}/api_keys/{mine[1]}").status_code == 200
    until(mine, f"{bucket}?list-type=2", DENIED)
    assert api.delete("/v0/drives/mine").status_code == 200
    until(theirs, f"{bucket}?list-type=2", 404)


def test_secrets_are_nowhere_on_disk_in_clear(api: httpx.Client, own: Server) -> None:
    key = key_of(api)
    until(key, drive(api, "secret")["state"]["s3Url"] + "?list-type=2", 200)
    for path in own.data_dir.rglob("*"):
        if path.is_file() and path.suffix != ".img":
            assert key[2].encode() not in path.read_bytes(), path
