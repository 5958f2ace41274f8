"""Volume templates over HTTP: life, versions, and uploads to signed URLs."""

import hashlib
import socket
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from platform_server import Server

from .archive_files import folder, hardlink, symlink, tar

FILES = tar(
    ("./", folder()),
    ("./app/main.py", b"print(1)\n"),
    ("app/link", symlink("main.py")),
    ("data/", folder()),
)


def create(api: httpx.Client, name: str, query: str = "upload=true", **spec: Any) -> httpx.Response:
    """Create a template."""
    body = {"metadata": {"name": name}, "spec": spec}
    response = api.post(f"/v0/volume_templates?{query}", json=body)
    assert response.status_code == 200, response.text
    return response


def send(created: httpx.Response, content: bytes) -> httpx.Response:
    """Send an archive to the URL of an answer, as the CLI does: without any credential."""
    url = created.headers["X-Blaxel-Upload-Url"]
    headers = {"Content-Type": "application/x-tar"}
    return httpx.put(url, content=content, headers=headers, trust_env=False)


def kept(server: Server) -> set[str]:
    """The archives on disk."""
    root = server.data_dir / "archives"
    assert list((root / "incoming").iterdir()) == []
    return {path.name for path in root.glob("??/*")}


def test_the_life_of_a_template(api: httpx.Client, name: str, server: Server) -> None:
    created = create(api, name, defaultSize=2048, description="Files")
    shown = created.json()
    assert shown["spec"] == {"defaultSize": 2048, "description": "Files"}
    assert (shown["status"], shown["state"]) == (
        "UPLOADING",
        {"status": "created", "versionCount": 1},
    )
    answer = send(created, FILES)
    digest = hashlib.sha256(FILES).hexdigest()
    assert (answer.status_code, answer.json()["digest"]) == (200, f"sha256:{digest}")
    assert answer.headers["content-type"] == "application/json"
    ready = api.get(f"/v0/volume_templates/{name}").json()
    assert (ready["status"], ready["state"]["status"]) == ("DEPLOYED", "ready")
    assert ready["state"]["latestVersion"] == "1"
    version = ready["versions"][0]
    assert (version["name"], version["status"]) == ("1", "READY")
    assert (version["contentSize"], version["templateName"]) == (len(FILES), name)
    assert ready in api.get("/v0/volume_templates").json()
    stored = server.data_dir / "archives" / digest[:2] / digest
    assert stored.read_bytes() == FILES
    assert stored.stat().st_mode & 0o777 == 0o600
    assert api.delete(f"/v0/volume_templates/{name}").json()["metadata"]["name"] == name
    assert api.get(f"/v0/volume_templates/{name}").json()["code"] == 404
    assert not stored.exists()


def test_a_put_creates_or_replaces(api: httpx.Client, name: str) -> None:
    path = f"/v0/volume_templates/{name}"
    body = {"metadata": {"name": name}, "spec": {"defaultSize": 10}}
    assert api.put(path, json=body).json()["state"] == {"status": "created", "versionCount": 0}
    again = api.put(path, json={"metadata": {"labels": {"a": "b"}}, "spec": {}}).json()
    assert (again["spec"], again["metadata"]["labels"]) == ({"defaultSize": 1024}, {"a": "b"})
    taken = api.post("/v0/volume_templates", json=body)
    assert taken.json()["error"] == "VOLUME_TEMPLATE_ALREADY_EXISTS"
    assert "X-Blaxel-Upload-Url" not in taken.headers
    assert create(api, f"{name}-2", query="").json()["status"] == "UPLOADING"


def test_versions(api: httpx.Client, name: str, server: Server) -> None:
    path = f"/v0/volume_templates/{name}"
    body = {"metadata": {"name": name}, "spec": {}}
    contents = [tar(("n", str(number).encode())) for number in range(3)]
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    send(create(api, name), contents[0])
    send(api.put(f"{path}?upload=true&version=v2.0", json=body), contents[1])
    waiting = api.put(f"{path}?upload=true", json=body)
    assert [v["name"] for v in waiting.json()["versions"]] == ["1", "v2.0", "3"]
    assert waiting.json()["state"]["latestVersion"] == "v2.0"
    assert send(waiting, contents[2]).json()["version"] == "3"
    used = api.put(f"{path}?upload=true&version=v2.0", json=body)
    assert (used.status_code, used.json()["error"]) == (409, "VERSION_ALREADY_EXISTS")
    for version in ("latest", "a/b", "-x", "x" * 64):
        refused = api.put(path, params={"upload": "true", "version": version}, json=body)
        assert refused.status_code == 400
        assert refused.json()["message"].startswith("version")
    assert api.put(f"{path}?version=v3", json=body).status_code == 400
    assert api.put(f"{path}?upload=perhaps", json=body).status_code == 400
    deleted = api.delete(f"{path}/versions/v2.0").json()
    assert [v["name"] for v in deleted["template"]["versions"]] == ["1", "3"]
    assert deleted["message"]
    assert api.delete(f"{path}/versions/v2.0").status_code == 404
    assert api.delete(f"{path}/versions/1").status_code == 200
    only = api.delete(f"{path}/versions/3")
    assert (only.status_code, only.json()["error"]) == (400, "ONLY_VERSION")
    assert kept(server) & set(digests) == {digests[2]}


def test_ten_versions_are_kept(api: httpx.Client, name: str, server: Server) -> None:
    path, body = f"/v0/volume_templates/{name}", {"metadata": {"name": name}, "spec": {}}
    first = tar(("n", name.encode()))
    send(create(api, name), first)
    for number in range(10):
        content = tar(("n", f"{name}/{number}".encode()))
        assert send(api.put(f"{path}?upload=true", json=body), content).status_code == 200
    for _ in range(12):
        waiting = api.put(f"{path}?upload=true", json=body).json()["versions"]
    assert [v["status"] for v in waiting].count("READY") == 10
    assert [v["status"] for v in waiting].count("CREATED") == 10
    assert waiting[0]["name"] == "2"
    assert hashlib.sha256(first).hexdigest() not in kept(server)


def test_an_upload_url_is_for_one_version_once(api: httpx.Client, name: str) -> None:
    created = create(api, name)
    url = created.headers["X-Blaxel-Upload-Url"]
    for damaged in (url[:-2], url.replace("token=", "token=A"), url.split("=")[0] + "=é", url[:-9]):
        refused = httpx.put(damaged, content=FILES, trust_env=False)
        assert (refused.status_code, refused.json()["error"]) == (403, "INVALID_UPLOAD")
    assert send(created, FILES).status_code == 200
    again = send(created, FILES)
    assert (again.status_code, again.json()["error"]) == (409, "VERSION_ALREADY_EXISTS")
    other = create(api, f"{name}-2")
    api.delete(f"/v0/volume_templates/{name}-2")
    assert send(other, FILES).status_code == 404


def test_equal_content_is_kept_once_and_as_long_as_needed(
    api: httpx.Client, name: str, server: Server
) -> None:
    content = tar(("same", name.encode()))
    digest = hashlib.sha256(content).hexdigest()
    for suffix in ("a", "b"):
        send(create(api, f"{name}-{suffix}"), content)
    volume = {"metadata": {"name": name}, "spec": {"template": f"{name}-a"}}
    assert api.post("/v0/volumes", json=volume).status_code == 200
    for suffix in ("a", "b"):
        api.delete(f"/v0/volume_templates/{name}-{suffix}")
        assert digest in kept(server)
    api.delete(f"/v0/volumes/{name}")
    assert digest not in kept(server)


def damaged(content: bytes) -> bytes:
    """A packed archive with a hole in the middle."""
    return content[: len(content) // 2] + b"\0" * 40 + content[len(content) // 2 + 40 :]


BAD = {
    "empty": b"",
    "text": b"hello",
    "no members": tar(),
    "cut off": tar(("x", b"1" * 5000))[:2000],
    "damaged": damaged(tar(("x", bytes(range(256)) * 100), mode="w:gz")),
    "no end": tar(("x", b"1"))[:1024],
    "broken header": FILES[:500] + b"9" + FILES[501:],
    "broken second header": FILES[:600] + b"9" + FILES[601:],
    "more after the end": FILES + b"x",
    "parent": tar(("../x", b"")),
    "deep parent": tar(("a/../../x", b"")),
    "absolute": tar(("/etc/x", b"")),
    "long": tar(("x/" * 3000, b"")),
    "link out": tar(("a", symlink("../x"))),
    "absolute link": tar(("a", symlink("/etc/passwd"))),
    "deep link out": tar(("d/a", symlink("../../x"))),
    "through a link": tar(("a", symlink("b")), ("a/x", b"")),
    "over a link": tar(("a", symlink("b")), ("a", b"x")),
    "through a link to here": tar(("a", symlink(".")), ("a/x", b"")),
    "file without a name": tar(("./.", b"x")),
    "link without a name": tar((".", symlink("x"))),
    "file and folder": tar(("a/x", b""), ("a", b"")),
    "below a file": tar(("a", b""), ("a/x", b"")),
    "folder over a file": tar(("a", b""), ("a", folder())),
    "dots": tar(("a/./x", b"")),
    "inner parent": tar(("a/../x", b"")),
    "nothing between": tar(("a//x", b"")),
    "hard link out": tar(("a", hardlink("../x"))),
    "hard link to nothing": tar(("a", hardlink("b")), ("b", b"")),
    "hard link to itself": tar(("a", b""), ("a", hardlink("./a"))),
    "hard link to a folder": tar(("a", b""), ("b", hardlink("a/"))),
    "hard link to a link": tar(("l", symlink("x")), ("a", hardlink("l"))),
    "hard link through a link": tar(("l", symlink(".")), ("a", hardlink("l/x"))),
    "device": tar(("a", {"type": tarfile.CHRTYPE})),
    "fifo": tar(("a", {"type": tarfile.FIFOTYPE})),
    "unknown type": tar(("a", {"type": b"9"})),
    "too large": tar(("x", {"size": 17 * 1024**3})),
    "huge header": tar(("x", {"type": tarfile.XHDTYPE, "size": 2 * 1024**2})),
}


@pytest.mark.parametrize("case", BAD)
def test_unusable_archives_are_refused(api: httpx.Client, name: str, case: str) -> None:
    created = create(api, name)
    answer = send(created, BAD[case])
    assert (answer.status_code, answer.json()["error"]) == (400, "INVALID_ARCHIVE"), answer.text
    shown = api.get(f"/v0/volume_templates/{name}").json()
    assert (shown["status"], shown["state"]["status"]) == ("FAILED", "error")
    assert shown["versions"][0]["status"] == "FAILED"
    assert send(created, FILES).status_code == 200
    assert api.get(f"/v0/volume_templates/{name}").json()["status"] == "DEPLOYED"


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_packed_archives_are_taken(api: httpx.Client, name: str, mode: str) -> None:
    content = tar(("a", b"1" * 100_000), ("./b", hardlink("a")), ("c", hardlink("b")), mode=mode)
    assert send(create(api, name), content).json()["unpackedSize"] == 100_000


def test_an_upload_that_breaks_off_leaves_nothing(
    api: httpx.Client, name: str, server: Server
) -> None:
    created = create(api, name)
    path = created.headers["X-Blaxel-Upload-Url"].removeprefix(server.url)
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\nx".encode())
        wait_for(lambda: any((server.data_dir / "archives/incoming").iterdir()))
    wait_for(lambda: not any((server.data_dir / "archives/incoming").iterdir()))
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {2 * 1024**3}\r\n\r\n"
        raw.sendall(head.encode())
        assert b" 413 " in raw.recv(1000)
    assert send(created, FILES).status_code == 200


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_start_removes_what_a_crash_left(new_server: Callable[[], Server]) -> None:
    server = new_server().start()
    send(create(server.client, "t"), FILES)
    server.kill()
    archives: Path = server.data_dir / "archives"
    (archives / "incoming" / "half").write_bytes(b"x")
    (archives / "ab").mkdir()
    (archives / "ab" / ("ab" * 32)).write_bytes(b"x")
    server.start()
    assert kept(server) == {hashlib.sha256(FILES).hexdigest()}
    assert server.client.get("/v0/volume_templates/t").json()["status"] == "DEPLOYED"


def test_neither_log_nor_answer_shows_a_token(api: httpx.Client, name: str, server: Server) -> None:
    created = create(api, name)
    send(created, FILES)
    token = created.headers["X-Blaxel-Upload-Url"].partition("token=")[2]
    server.logged(path="/uploads/archives", status=200)
    assert token not in server.log.read_text()
    assert token not in api.get(f"/v0/volume_templates/{name}").text
