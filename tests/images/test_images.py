"""The registry of images: registering, tags, pages, removal."""

from typing import Any

import httpx
import pytest

from images_help import BASE, register, unique
from platform_server import Server

pytestmark = pytest.mark.sandbox
BEFORE_PAGES = {"Blaxel-Version": "2026-04-28"}


def test_the_life_of_an_image(api: httpx.Client) -> None:
    name = unique()
    made = register(api, name)
    assert made | {"name": name, "resourceType": "sandbox", "image": BASE} == made
    assert made["build"] is False
    shown = api.get(f"/v0/images/sandbox/{name}").json()
    assert shown["spec"] == {"size": 0, "tagCount": 1}
    assert shown["metadata"]["status"] == "BUILT"
    old = api.get(f"/v0/images/sandboxes/{name}", headers=BEFORE_PAGES).json()
    assert [tag["name"] for tag in old["spec"]["tags"]] == ["latest"]
    assert api.get(f"/v0/images/_/{name}").json() == shown
    assert api.get(f"/v0/images/agent/{name}").status_code == 404
    assert api.get(f"/v0/images/nonsense/{name}").status_code == 404
    gone = api.delete(f"/v0/images/sandbox/{name}")
    assert gone.json() == old
    assert api.get(f"/v0/images/_/{name}").json()["error"] == "IMAGE_NOT_FOUND"


def test_lists_by_version(api: httpx.Client) -> None:
    names = [unique() for _ in range(5)]
    for name in names:
        register(api, name)
    bare = api.get("/v0/images", headers=BEFORE_PAGES).json()
    assert set(names) <= {item["metadata"]["name"] for item in bare}
    assert all(item["spec"]["tags"] for item in bare)
    found, cursor = [], ""
    while True:
        page = api.get(f"/v0/images?limit=2&sort=name:asc&q=img-&cursor={cursor}").json()
        found += [item["metadata"]["name"] for item in page["data"]]
        cursor = page["meta"]["nextCursor"]
        assert page["meta"]["hasMore"] == bool(cursor)
        if not cursor:
            break
    assert found == sorted(found)
    assert len(found) == len(set(found)) == len(bare)
    assert page["meta"]["total"] == len(bare)
    assert "tags" not in page["data"][0]["spec"]
    first = api.get("/v0/images?limit=1").json()["meta"]["nextCursor"]
    assert api.get(f"/v0/images?limit=1&sort=name:asc&cursor={first}").status_code == 400
    last = api.get("/v0/images?limit=2&sort=name:asc&anchor=end&q=img-").json()
    assert [item["metadata"]["name"] for item in last["data"]] == found[-2:]


def test_tags(api: httpx.Client) -> None:
    name = unique()
    for tag in (None, "v1", "v2", "v10"):
        register(api, name, tag)
    path = f"/v0/images/sandbox/{name}"
    taken = api.post(
        "/v0/images",
        json={"name": name, "resourceType": "sandbox", "image": BASE, "tag": "v1"},
    )
    assert (taken.status_code, taken.json()["error"]) == (409, "IMAGE_TAG_ALREADY_EXISTS")
    page = api.get(f"{path}/tags?limit=3").json()
    assert [tag["name"] for tag in page["data"]] == ["latest", "v1", "v10"]
    rest = api.get(f"{path}/tags?limit=3&cursor={page['meta']['nextCursor']}").json()
    assert [tag["name"] for tag in rest["data"]] == ["v2"]
    assert rest["meta"] == {"hasMore": False, "nextCursor": "", "total": 4}
    assert len(api.get(f"{path}/tags?q=v1&sort=name:desc").json()["data"]) == 2
    assert [t["name"] for t in api.get(f"{path}/tags?name=v1").json()["data"]] == ["v1"]
    left = api.delete(f"{path}/tags/v1").json()
    assert "spec" in left, left
    assert [tag["name"] for tag in left["spec"]["tags"]] == ["latest", "v10", "v2"]
    assert api.delete(f"{path}/tags/v1").json()["error"] == "IMAGE_TAG_NOT_FOUND"
    assert len(api.delete(f"{path}:v10").json()["spec"]["tags"]) == 2
    api.delete(f"{path}:v2")
    assert api.delete(f"{path}:latest").json()["spec"]["tags"][0]["name"] == "latest"
    assert api.get(path).status_code == 404


def test_images_in_use_stay(api: httpx.Client) -> None:
    used, idle = unique(), unique()
    for name in (used, idle):
        register(api, name, "v1")
    agent = unique()
    spec = {"runtime": {"image": f"sandbox/{used}:v1"}}
    api.post("/v0/agents", json={"metadata": {"name": agent}, "spec": spec})
    for path in (used, f"{used}:v1", f"{used}/tags/v1"):
        refused = api.delete(f"/v0/images/sandbox/{path}")
        assert (refused.status_code, refused.json()["error"]) == (400, "IMAGE_IN_USE")
        assert f"agent {agent}" in refused.json()["message"]
    cleaned = api.delete("/v0/images").json()
    assert cleaned["deleted"] >= 1
    assert api.get(f"/v0/images/sandbox/{idle}").status_code == 404
    assert api.get(f"/v0/images/sandbox/{used}").status_code == 200
    api.delete(f"/v0/agents/{agent}")
    assert api.delete(f"/v0/images/sandbox/{used}").status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"image": "registry.example/nginx:1"}, 409, "image_registries"),
        ({"image": BASE, "resourceType": "planet"}, 400, "resourceType"),
        ({"image": BASE, "name": "Not A Name"}, 400, "name"),
        ({"image": BASE, "tag": "latest"}, 400, "reserved"),
        ({"image": BASE, "tag": "-x"}, 400, "tag"),
        ({"image": 3}, 400, "image"),
    ],
)
def test_what_cannot_be_registered(
    api: httpx.Client, body: dict[str, Any], status: int, text: str
) -> None:
    full = {"name": unique(), "resourceType": "sandbox"} | body
    answer = api.post("/v0/images?upload=true", json=full)
    assert (answer.status_code, answer.json()["code"]) == (status, status)
    assert text in answer.json()["message"]
    if status == 409:
        assert answer.json()["error"] == "NOT_AVAILABLE"
        assert BASE in answer.json()["message"]


def test_no_secret_of_a_registry_is_kept(api: httpx.Client, server: Server) -> None:
    register(api, unique(), dockerConfig='{"auths":"very-private"}')
    files = [*server.data_dir.glob("serai.db*"), server.log]
    assert all(b"very-private" not in file.read_bytes() for file in files)
