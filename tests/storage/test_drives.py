"""Drives over HTTP: life, permissions, access tokens and folders."""

import base64
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from platform_server import Server


def create(api: httpx.Client, name: str, **spec: Any) -> dict[str, Any]:
    """A new drive."""
    response = api.post("/v0/drives", json={"metadata": {"name": name}, "spec": spec})
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


def lasting(response: httpx.Response) -> dict[str, Any]:
    """A resource without its history."""
    return {key: value for key, value in response.json().items() if key != "events"}


def raw(text: str) -> bytes:
    """The bytes of base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verified(token: str, key: dict[str, str]) -> dict[str, Any]:
    """The claims of an ES256 token; raises InvalidSignature."""
    head, claims, signature = token.split(".")
    header = json.loads(raw(head))
    assert (header["alg"], header["kid"]) == ("ES256", key["kid"])
    x, y = (int.from_bytes(raw(key[part])) for part in "xy")
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    both = raw(signature)
    der = encode_dss_signature(int.from_bytes(both[:32]), int.from_bytes(both[32:]))
    public.verify(der, f"{head}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))
    found: dict[str, Any] = json.loads(raw(claims))
    return found


def test_the_life_of_a_drive(api: httpx.Client, name: str) -> None:
    made = create(api, name, region="us-was-1", size=10)
    assert made["spec"] == {"region": "us-was-1", "permissions": []}
    assert (made["status"], made["metadata"]["displayName"]) == ("DEPLOYED", name)
    assert lasting(api.get(f"/v0/drives/{name}")) == made
    again = api.post("/v0/drives", json=made)
    assert (again.status_code, again.json()["error"]) == (409, "DRIVE_ALREADY_EXISTS")
    listed = api.get("/v0/drives", params={"q": name}).json()
    assert listed["data"] == [made]
    assert isinstance(api.get("/v0/drives", headers={"Blaxel-Version": "2026-04-16"}).json(), list)
    metadata = made["metadata"] | {"displayName": "Mine", "externalId": f"X-{name}"}
    changed = api.put(f"/v0/drives/{name}", json={"metadata": metadata, "spec": {}}).json()
    assert (changed["metadata"]["displayName"], changed["spec"]) == ("Mine", made["spec"])
    assert lasting(api.get(f"/v0/drives/by-external-id/X-{name}")) == changed
    moved = api.put(f"/v0/drives/{name}", json={"metadata": {}, "spec": {"region": "eu-lon-1"}})
    assert moved.json()["message"].startswith("spec.region cannot change")
    deleted = api.delete(f"/v0/drives/{name}")
    assert (deleted.status_code, deleted.json()["name"]) == (200, name)
    assert deleted.json()["message"]
    for path in (name, f"by-external-id/X-{name}"):
        assert api.get(f"/v0/drives/{path}").json()["code"] == 404


def test_permissions(api: httpx.Client, name: str) -> None:
    permissions = [{"labels": {"team": "a"}}, {"mode": "read", "path": "/shared//x/"}]
    stored = create(api, name, permissions=permissions)["spec"]["permissions"]
    assert stored == [
        {"labels": {"team": "a"}, "mode": "read-write", "path": "/"},
        {"mode": "read", "path": "/shared/x"},
    ]
    opened = api.put(f"/v0/drives/{name}", json={"metadata": {}, "spec": {"permissions": []}})
    assert opened.json()["spec"] == {"permissions": []}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"permissions": [{}] * 4}, "spec.permissions"),
        ({"permissions": [{"mode": "write"}]}, "spec.permissions"),
        ({"permissions": [{"path": "x"}]}, "spec.permissions[0].path"),
        ({"permissions": [{"path": "/a/../b"}]}, "spec.permissions[0].path"),
        ({"permissions": [{"labels": {"": "x"}}]}, "spec.permissions[0].labels"),
        ({"permissions": [{"labels": {"a": 1}}]}, "spec.permissions"),
        ({"region": "x" * 64}, "spec.region"),
    ],
)
def test_rules(api: httpx.Client, name: str, spec: Any, field: str) -> None:
    response = api.post("/v0/drives", json={"metadata": {"name": name}, "spec": spec})
    assert response.status_code == 400, response.text
    assert field in response.json()["message"]


def test_access_tokens_can_be_checked_with_the_public_key(
    api: httpx.Client, name: str, server: Server
) -> None:
    create(api, name)
    answer = api.post(f"/v0/drives/{name}/access-token")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    token = answer.json()
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 3600)
    keys = httpx.get(f"{server.url}/v0/drives/jwks.json", trust_env=False).json()["keys"]
    assert set(keys[0]) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    claims = verified(token["access_token"], keys[0])
    assert (claims["drive"], claims["workspace"], claims["iss"]) == (name, "main", server.url)
    assert claims["exp"] - claims["iat"] == 3600
    assert abs(claims["iat"] - time.time()) < 60
    head, body, signature = token["access_token"].split(".")
    forged = base64.urlsafe_b64encode(raw(body).replace(b"main", b"evil")).decode().rstrip("=")
    with pytest.raises(InvalidSignature):
        verified(f"{head}.{forged}.{signature}", keys[0])
    assert api.post("/v0/drives/none/access-token").status_code == 404


def test_the_key_stays_and_is_encrypted(new_server: Callable[[], Server]) -> None:
    server = new_server().start()
    create(server.client, "d")
    token = server.client.post("/v0/drives/d/access-token").json()["access_token"]
    server.kill()
    server.start()
    key = server.client.get("/v0/drives/jwks.json").json()["keys"][0]
    assert verified(token, key)["drive"] == "d"
    with sqlite3.connect(server.data_dir / "serai.db") as database:
        ((sealed,),) = database.execute("SELECT sealed FROM drive_keys").fetchall()
    assert raw(key["x"]) not in sealed


def test_fixed_paths_are_not_names(api: httpx.Client) -> None:
    assert "keys" in api.get("/v0/drives/jwks.json").json()
    assert isinstance(api.get("/v0/integrations/connections").json(), list)
    for kind in ("drives", "volumes"):
        message = api.get(f"/v0/{kind}/by-external-id/none").json()["message"]
        assert "external id" in message


def files_of(server: Server) -> Path:
    """The directory of the only drive of a server, as a mount would have it."""
    (path,) = [path for path in server.drives.iterdir() if path.name != ".trash"]
    return path


def test_folders(new_server: Callable[[], Server]) -> None:
    server = new_server().start()
    api, base = server.client, "/v0/drives/d/folders"
    create(api, "d")
    assert api.get(base).json() == []
    root, outside = files_of(server), server.data_dir.parent / "outside"
    for folder in (root / "a/b/c", root / "a/x y", outside / "kept"):
        folder.mkdir(parents=True)
    (root / "a" / "file").write_text("x")
    (root / "a" / "link").symlink_to(outside)
    (root / "a" / "b" / "deep").symlink_to(outside)
    assert api.get(base).json() == [{"name": "a", "path": "/a"}]
    below = [{"name": "b", "path": "/a/b"}, {"name": "x y", "path": "/a/x y"}]
    for path in ("/a", "a/", "//a//"):
        assert api.get(base, params={"path": path}).json() == below
    for path in ("/none", "/a/file", "/a/link", "/a/link/kept"):
        assert api.get(base, params={"path": path}).json() == []
    for path in ("/none", "/none/x", "/a/link/kept", "/a/file/x", "/a/b"):
        gone = api.delete(base, params={"path": path})
        assert (gone.status_code, gone.content) == (204, b""), path
    for path in ("", "/", "/.", "/a/../a", "/a/file", "/a/link", "x" * 5000):
        refused = api.delete(base, params={"path": path})
        assert (refused.status_code, refused.json()["code"]) == (400, 400), path
    assert api.get(base, params={"path": "/a"}).json() == below[1:]
    assert (outside / "kept").is_dir()
    assert api.delete("/v0/drives/none/folders", params={"path": "/a"}).status_code == 404
    api.delete("/v0/drives/d")
    assert [path.name for path in server.drives.iterdir()] == [".trash"]
    assert (outside / "kept").is_dir()


def test_a_start_removes_drives_that_nothing_names(new_server: Callable[[], Server]) -> None:
    server = new_server().start()
    create(server.client, "d")
    server.client.get("/v0/drives/d/folders")
    mine, drives = files_of(server), server.drives
    (drives / "gone" / "x").mkdir(parents=True)
    (drives / ".trash" / "half" / "y").mkdir(parents=True)
    server.kill()
    drives = server.start().drives
    assert {path.name for path in drives.iterdir()} == {".trash", mine.name}
    assert list((drives / ".trash").iterdir()) == []
