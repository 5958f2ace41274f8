"""The upload contract of official clients: announced, sent by a signed URL, built, published."""

import json
import os
import socket
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from platform_server import Server
from projects import announce, body, deploy, last_message, send, settled, unique, zipped

pytestmark = pytest.mark.sandbox
FILES = {"main.py": "print('hello')"}
KINDS = ("agents", "functions", "jobs", "applications")


def scripted(script: str) -> str:
    """A package.json whose build script is this."""
    return json.dumps({"scripts": {"build": script, "start": "true"}})


FILL = scripted("dd if=/dev/zero of=/blaxel/zeros bs=1M count=400")
TELLS = scripted("test $TOKEN = s3cr3t-value && echo It is $TOKEN && false")


def test_code_becomes_an_image_of_a_new_revision(api: httpx.Client) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda kind: _becomes_an_image(api, kind), KINDS))


def passed(document: Any) -> list[str]:
    """The statuses that it has had; what comes after DEPLOYING is for those who run it."""
    return [event["status"] for event in document["events"]]


def _becomes_an_image(api: httpx.Client, kind: str) -> None:
    name = unique("first")
    document, seen = deploy(api, kind, name, FILES)
    assert "BUILDING" in seen
    spec = document["spec"]
    image = spec["image"] if kind == "applications" else spec["runtime"]["image"]
    kept = api.get(f"/v0/images/{kind[:-1]}/{name}").json()
    assert kept["metadata"]["status"] == "BUILT"
    tags = api.get(f"/v0/images/{kind[:-1]}/{name}/tags").json()["data"]
    assert image == f"{kind[:-1]}/{name}:{tags[0]['name']}"
    assert passed(document)[:3] == ["UPLOADING", "BUILDING", "DEPLOYING"]
    assert document["metadata"]["labels"] == {"x-blaxel-auto-generated": "true"}


def test_building_can_be_seen_for_more_than_three_seconds(api: httpx.Client) -> None:
    document, _ = deploy(api, "agents", unique("seen"), FILES)
    at = {event["status"]: event["time"] for event in document["events"]}
    begun, ended = (time.mktime(time.strptime(at[s][:19], "%Y-%m-%dT%H:%M:%S")) for s in
                    ("BUILDING", "DEPLOYING"))  # fmt: skip
    assert ended - begun >= 3


def test_the_revision_that_serves_stays_while_new_code_is_built(api: httpx.Client) -> None:
    name = unique("held")
    first, _ = deploy(api, "jobs", name, FILES)
    active = first["spec"]["revision"]["active"]
    again = announce(api, "jobs", name)
    assert again.json()["status"] == "UPLOADING"
    assert again.json()["spec"]["revision"]["active"] == active
    assert send(again, zipped({"README.md": "nothing to build"})).status_code == 200
    failed, seen = settled(api, f"/v0/jobs/{name}")
    assert seen[-1] == "FAILED"
    assert failed["spec"]["revision"]["active"] == active
    kept = {one["id"]: one["status"] for one in api.get(f"/v0/jobs/{name}/revisions").json()}
    assert sorted(kept.values()) == ["FAILED", "FAILED"]  # the document's own is shown for active
    third, _ = deploy(api, "jobs", name, FILES)
    assert third["status"] == "DEPLOYED"
    assert third["spec"]["revision"]["active"] not in kept


BAD: list[tuple[dict[str, str], str]] = [
    ({"README.md": ""}, "nothing says how to build this project"),
    ({"requirements.txt": ""}, "nothing says how this Python project starts"),
    ({"package.json": "{}"}, "nothing says how this project starts"),
    ({"package.json": "{"}, "package.json cannot be read"),
    ({"poetry.lock": "", "main.py": ""}, "poetry export -o requirements.txt"),
    ({"package.json": "{}", "bun.lock": ""}, "bun.lock: this kind of lock file"),
    ({"go.mod": ""}, "Go projects are built by a Dockerfile"),
    ({"main.py": "", "blaxel.toml": "[entrypoint"}, "blaxel.toml cannot be read"),
    ({"../x": ""}, "'../x' leads out of the archive"),
    ({"Dockerfile": "FROM scratch\nADD http://127.0.0.1/x /x"}, "ADD takes files of the"),
    ({"Dockerfile": "FROM oci-archive:/etc/x"}, "oci-archive:/etc/x is no image in a registry"),
    ({"Dockerfile": "ARG B=dir:/\nFROM $B\nARG B=alpine"}, "dir:/ is no image in a registry"),
    ({"Dockerfile": "FROM ${B:-dir:/}"}, "use plain variables such as $NAME"),
    (
        {"Dockerfile": "FROM scratch\nRUN --mount=type=bind,from=dir:/,target=/h true"},
        "dir:/ is no image in a registry",
    ),
    ({"Dockerfile": "FROM \\\n dir:/etc"}, "dir:/etc is no image in a registry"),
    ({"Dockerfile": "# syntax=evil.example/x\nFROM scratch"}, "only docker/dockerfile"),
    ({"Dockerfile": "FROM dir:/etc AS dir:/etc"}, "dir:/etc is no image in a registry"),
    ({"Dockerfile": "FROM nowhere.example/x"}, "which this installation does not ask"),
    ({"package.json": FILL}, "the disk of the build is full (64 MiB"),
    ({"package.json": TELLS, ".env.build": "TOKEN='s3cr3t-value'"}, "It is ***"),
]


def test_what_cannot_be_built_says_why(api: httpx.Client) -> None:
    with ThreadPoolExecutor(len(BAD)) as pool:
        found = list(pool.map(lambda bad: _deploy_bad(api, bad[0]), BAD))
    for document, (_, why) in zip(found, BAD, strict=True):
        assert document["status"] == "FAILED"
        assert why in last_message(document)
        assert "s3cr3t-value" not in str(document)


def _deploy_bad(api: httpx.Client, files: dict[str, str]) -> Any:
    limit = {"x-blaxel-build-volume": "64"}
    return deploy(api, "agents", unique("bad"), files, **limit)[0]


def test_an_upload_url_is_good_once_and_for_one_build(api: httpx.Client, server: Server) -> None:
    name = unique("once")
    answer = announce(api, "agents", name)
    first, other = zipped(FILES), zipped(FILES | {"more.py": ""})
    assert send(answer, first).status_code == 200
    assert send(answer, first).status_code == 200  # a client that did not hear of it
    refused = send(answer, other)
    assert (refused.status_code, "Other code was taken" in refused.text) == (409, True)
    settled(api, f"/v0/agents/{name}")
    url = answer.headers["X-Blaxel-Upload-Url"]
    forged = url[:-8] + ("A" if url[-8] != "A" else "B") + url[-7:]
    assert httpx.put(forged, content=first, trust_env=False).status_code == 403
    assert httpx.put(f"{server.url}/uploads/sources", content=first).status_code == 403


def test_newer_code_takes_the_place_of_older(api: httpx.Client) -> None:
    name = unique("newer")
    old = announce(api, "agents", name)
    new = announce(api, "agents", name)
    refused = send(old, zipped(FILES))
    assert (refused.status_code, "Newer code was announced" in refused.text) == (409, True)
    assert send(new, zipped(FILES)).status_code == 200
    document, _ = settled(api, f"/v0/agents/{name}")
    revisions = api.get(f"/v0/agents/{name}/revisions").json()
    assert [one["id"] for one in revisions if one["id"] == document["spec"]["revision"]["active"]]
    assert len(revisions) == 2  # the first one, which serves nothing yet, and the new one


def test_an_upload_that_breaks_can_be_sent_again(api: httpx.Client, server: Server) -> None:
    name = unique("broken")
    answer = announce(api, "agents", name)
    url, data = urlsplit(answer.headers["X-Blaxel-Upload-Url"]), zipped(FILES)
    head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as broken:
        broken.sendall(head.encode() + data[:50])
    assert api.get(f"/v0/agents/{name}").json()["status"] == "UPLOADING"
    assert send(answer, data).status_code == 200
    assert "DEPLOYING" in passed(settled(api, f"/v0/agents/{name}")[0])
    assert list((server.data_dir / "builds/uploads").iterdir()) == []


@pytest.mark.builds
def test_too_much_code_is_refused(new_server: Callable[..., Server]) -> None:
    server = new_server(SERAI_BUILD_UPLOAD_MB="1").start()
    name = unique("large")
    answer = announce(server.client, "agents", name)
    refused = send(answer, os.urandom((1 << 20) + 10))
    assert refused.status_code == 413
    assert "build_upload_mb" in refused.text
    assert send(answer, zipped(FILES)).status_code == 200


def test_deleting_a_resource_ends_its_build(api: httpx.Client, server: Server) -> None:
    name = unique("gone")
    answer = announce(api, "agents", name)
    hang = {"package.json": scripted("sleep 600")}
    assert send(answer, zipped(hang)).status_code == 200
    _wait_for(lambda: api.get(f"/v0/agents/{name}").json()["status"] == "BUILDING")
    assert api.delete(f"/v0/agents/{name}").status_code == 200
    _wait_for(lambda: _builds(server, name) == ["CANCELLED"])
    assert api.get(f"/v0/images/agent/{name}").status_code == 404


@pytest.mark.builds
def test_a_build_that_hangs_ends_with_what_it_printed_last(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(SERAI_BUILD_SECONDS="3").start()
    hang = {"package.json": scripted("echo Thinking; sleep 600")}
    document, _ = deploy(server.client, "agents", "hangs", hang)
    message = last_message(document)
    assert "took longer than 3 s (the setting build_seconds)" in message
    assert "Thinking" in message


def test_labels_that_steer_the_build_are_checked(api: httpx.Client) -> None:
    answer = announce(api, "agents", unique("label"), **{"x-blaxel-build-memory": "lots"})
    assert answer.status_code == 400
    assert "x-blaxel-build-memory" in answer.json()["message"]


def test_builds_go_on_after_a_crash(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    answer = announce(server.client, "agents", "survivor")
    files = {"package.json": scripted("sleep 4")}
    assert send(answer, zipped(files)).status_code == 200
    _wait_for(lambda: server.client.get("/v0/agents/survivor").json()["status"] == "BUILDING")
    server.kill()
    server.start()
    document, seen = settled(server.client, "/v0/agents/survivor")
    assert "DEPLOYING" in passed(document), (seen, last_message(document))
    assert list((server.data_dir / "builds/work").iterdir()) == []
    leftovers = server.client.get("/health").json()["sandboxes"]
    assert leftovers == {"running": 0}


def test_an_image_alone_can_be_built(api: httpx.Client) -> None:
    name = unique("pushed")
    wanted = {"name": name, "resourceType": "agent"}
    answer = api.post("/v0/images?upload=true", json=wanted)
    assert answer.json() | {"message": ""} == wanted | {"message": "", "build": True}
    assert api.get(f"/v0/images/agent/{name}").json()["metadata"]["status"] == "UPLOADING"
    assert send(answer, zipped(FILES)).status_code == 200
    image, seen = settled(api, f"/v0/images/_/{name}")
    assert seen[-2:] == ["BUILDING", "BUILT"]
    assert [event["status"] for event in image["events"]] == ["UPLOADING", "BUILDING", "BUILT"]
    again = api.post("/v0/images?upload=true", json=wanted)
    assert api.get(f"/v0/images/agent/{name}").json()["metadata"]["status"] == "UPLOADING"
    assert send(again, zipped({"x": ""})).status_code == 200
    failed = _wait_for(lambda: _failed(api, name))
    assert "nothing says how to build" in failed["events"][-1]["message"]
    refused = api.post("/v0/images", json=wanted)
    assert (refused.status_code, "upload=true" in refused.text) == (400, True)


def test_a_sandbox_is_built_and_its_image_usable_by_name(api: httpx.Client) -> None:
    name = unique("box")
    files = FILES | {"note.txt": "one"}
    document, seen = deploy(api, "sandboxes", name, files)
    assert seen[-1] == "DEPLOYED", last_message(document)
    assert _note(api, name) == "one"
    other = unique("other")
    wanted = {"metadata": {"name": other}, "spec": {"runtime": {"image": name, "memory": 512}}}
    assert api.post("/v0/sandboxes", json=wanted).status_code == 200
    assert _note(api, other) == "one"
    again, seen = deploy(api, "sandboxes", name, files | {"note.txt": "two"})
    assert seen[-1] == "DEPLOYED", last_message(again)
    assert _note(api, name) == "two"
    assert _note(api, other) == "one"
    failed, _ = deploy(api, "sandboxes", name, {"x": ""})
    assert failed["status"] == "FAILED"
    mended, _ = deploy(api, "sandboxes", name, files)
    assert mended["status"] == "DEPLOYED"


def test_nobody_is_led_to_what_another_workspace_built(api: httpx.Client, server: Server) -> None:
    name = unique("mine")
    deploy(api, "jobs", name, FILES)
    build = api.get(f"/v0/images/job/{name}/tags").json()["data"][0]["name"]
    wanted = body(unique("thief"))
    wanted["spec"]["runtime"]["image"] = f"built/{build}:latest"
    answer = api.post("/v0/sandboxes", json=wanted)
    assert answer.status_code == 400
    assert "available" in answer.text
    assert f"built/{build}" not in api.get("/v0/sandbox/hub").text


@pytest.mark.builds
def test_old_images_go_by_the_policy(new_server: Callable[..., Server]) -> None:
    server = new_server(SERAI_BUILDS_KEPT="1").start()
    for number in range(3):
        wanted = {"name": "many", "resourceType": "agent"}
        answer = server.client.post("/v0/images?upload=true", json=wanted)
        assert send(answer, zipped({"main.py": f"print({number})"})).status_code == 200
        settled(server.client, "/v0/images/agent/many")
    deploy(server.client, "jobs", "used", FILES)
    server.stop()
    server.start()
    _wait_for(lambda: server.client.get("/v0/images/agent/many").json()["spec"]["tagCount"] == 1)
    assert server.client.get("/v0/images/job/used").json()["spec"]["tagCount"] == 1
    names = server.data_dir / "images/names"
    _wait_for(lambda: len([path for path in names.iterdir() if "built" in path.name]) == 2)


def _failed(api: httpx.Client, name: str) -> Any:
    found = api.get(f"/v0/images/agent/{name}").json()
    return found if found["metadata"]["status"] == "FAILED" else None


def _note(api: httpx.Client, name: str) -> str:
    command = {"command": "cat /blaxel/note.txt", "waitForCompletion": True}
    answer = api.post(f"/main/sandboxes/{name}/process", json=command)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["stdout"]).strip()


def _wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come about")


def _builds(server: Server, name: str) -> list[str]:
    with sqlite3.connect(server.data_dir / "serai.db") as conn:
        rows = conn.execute("select status from builds where name = ?", (name,)).fetchall()
    return [str(status) for (status,) in rows]
