"""The edge of the Management API: credentials, workspaces, versions, envelopes, request ids."""

import json
import socket
import sqlite3
import subprocess
from collections.abc import Callable

import httpx
import pytest

from platform_server import KEY, Server
from serai.api.versions import RELEASES
from serai.identity.keys import new_key

ALL = [name for date in sorted(RELEASES) for name in (date, f"{date}.preview")]


def bare(server: Server, **headers: str) -> httpx.Client:
    """A client that sends only these headers."""
    return httpx.Client(base_url=server.url, headers=headers, trust_env=False)


def assert_error(response: httpx.Response, status: int, code: str) -> str:
    """The envelope that every client parses; returns the message."""
    body = response.json()
    assert (response.status_code, body["error"], body["code"]) == (status, code, status)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    return str(body["message"])


@pytest.mark.parametrize("version", ALL)
def test_every_version_is_served_and_comes_back(api: httpx.Client, version: str) -> None:
    for path in ("/v0/sandboxes", "/v0/models", "/v0/integrations/connections", "/v0/accounts"):
        response = api.get(path, headers={"Blaxel-Version": version})
        assert response.status_code == 200
        assert response.headers["blaxel-version"] == version


def test_without_a_version_the_earliest_stable_one_answers(server: Server) -> None:
    with bare(server, Authorization=f"Bearer {KEY}") as client:
        response = client.get("/v0/sandboxes")
    assert response.headers["blaxel-version"] == "2026-04-16"
    assert isinstance(response.json(), list)


@pytest.mark.parametrize("version", ["2026-99-99", "", "latest", "2026-04-16.beta"])
@pytest.mark.parametrize("path", ["/v0/sandboxes", "/v0/nowhere", "/api/v0/agents", "/v0/accounts"])
def test_an_unknown_version_is_exactly_this_error(
    api: httpx.Client, server: Server, path: str, version: str
) -> None:
    response = api.get(path, headers={"Blaxel-Version": version})
    assert response.status_code == 400
    assert response.json() == {
        "error": "invalid_api_version",
        "message": f'Unknown API version "{version}". Valid versions: {", ".join(ALL)}. '
        f"See {server.url}/docs/api#api-versioning for the list of supported versions.",
    }


def test_the_registry_is_public_and_the_error_leads_to_its_page(server: Server) -> None:
    with bare(server) as client:
        listed = client.get("/v0/versions").json()
        page = client.get("/docs/api").text
    assert [version["version"] for version in listed["versions"]] == ALL
    assert listed["default"] == "2026-04-16"
    assert 'id="api-versioning"' in page
    assert all(version in page for version in ALL)


@pytest.mark.parametrize("header", ["Authorization", "X-Blaxel-Authorization"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER  "])
def test_the_key_may_come_in_either_header(server: Server, header: str, scheme: str) -> None:
    with bare(server, **{header: f"{scheme} {KEY}"}) as client:
        assert client.get("/v0/sandboxes").status_code == 200


@pytest.mark.parametrize("other", ["Bearer replaced", "", "Basic dXNlcjpwYXNz", "Bearer wrong"])
def test_the_platform_header_wins_and_placeholders_are_passed_over(
    server: Server, other: str
) -> None:
    both = {"Authorization": other, "X-Blaxel-Authorization": f"Bearer {KEY}"}
    with bare(server, **both) as client:
        assert client.get("/v0/sandboxes").status_code == 200
    swapped = {"X-Blaxel-Authorization": "", "Authorization": f"Bearer {KEY}"}
    with bare(server, **swapped) as client:
        assert client.get("/v0/sandboxes").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer replaced"},
        {"Authorization": f"Basic {KEY}"},
    ],
)
def test_no_key(server: Server, headers: dict[str, str]) -> None:
    with bare(server, **headers) as client:
        message = assert_error(client.get("/v0/sandboxes"), 401, "AUTHENTICATION_REQUIRED")
    assert "X-Blaxel-Authorization" in message


@pytest.mark.parametrize("key", ["x", "a" * 10_000, "ключ".encode().decode("latin-1"), new_key()])
def test_an_unknown_key(server: Server, key: str) -> None:
    with bare(server) as client:
        sent = {"Authorization": f"Bearer {key}".encode("latin-1", "replace")}
        response = client.get("/v0/sandboxes", headers=sent)
    assert_error(response, 401, "AUTHENTICATION_FAILED")
    assert response.headers["x-should-retry"] == "false"


def test_a_mistyped_key_is_told_from_an_unknown_one(server: Server) -> None:
    key = new_key()
    broken = key[:-1] + ("0" if key[-1] != "0" else "1")
    with bare(server, Authorization=f"Bearer {broken}") as client:
        message = assert_error(client.get("/v0/sandboxes"), 401, "AUTHENTICATION_FAILED")
    assert "malformed" in message


def test_keys_of_another_installation_and_revoked_keys(
    new_server: Callable[..., Server],
) -> None:
    one, two = new_server("one").start(), new_server("two", SERAI_ADMIN_API_KEY=new_key()).start()
    assert one.client.get("/v0/sandboxes").status_code == 200
    assert two.client_for(KEY).get("/v0/sandboxes").status_code == 401
    one.stop()
    database = sqlite3.connect(one.data_dir / "serai.db")
    database.execute("UPDATE api_keys SET revoked_at = '2026-01-01T00:00:00.000Z'")
    database.commit()
    database.close()
    one.environ.pop("SERAI_ADMIN_API_KEY")
    one.start()
    assert_error(one.client.get("/v0/sandboxes"), 401, "AUTHENTICATION_FAILED")


@pytest.mark.parametrize("workspace", ["other", "main2", "../main", "MAIN"])
def test_a_workspace_that_the_key_does_not_reach(api: httpx.Client, workspace: str) -> None:
    by_header = api.get("/v0/sandboxes", headers={"X-Blaxel-Workspace": workspace})
    assert workspace in assert_error(by_header, 403, "WORKSPACE_FORBIDDEN")
    by_query = api.get("/v0/sandboxes", params={"workspace": workspace})
    assert_error(by_query, 403, "WORKSPACE_FORBIDDEN")


def test_a_key_with_two_workspaces_must_name_one(new_server: Callable[..., Server]) -> None:
    server = new_server()
    server.start().stop()
    server.environ["SERAI_WORKSPACE"] = "second"
    server.start()
    assert_error(server.client.get("/v0/sandboxes"), 400, "WORKSPACE_REQUIRED")
    body = {"metadata": {"name": "only-here"}, "spec": {}}
    made = server.client.post("/v0/models", json=body, params={"workspace": "second"})
    assert made.json()["metadata"]["workspace"] == "second"
    for workspace, status in (("main", 404), ("second", 200)):
        got = server.client.get("/v0/models/only-here", headers={"X-Blaxel-Workspace": workspace})
        assert got.status_code == status


@pytest.mark.parametrize("prefix", ["/v0", "/api/v0", "/api"])
def test_aliases_of_the_management_api(api: httpx.Client, prefix: str) -> None:
    assert api.get(f"{prefix}/sandboxes").json()["data"] == api.get("/v0/sandboxes").json()["data"]
    message = api.get(f"{prefix}/sandboxes/nope").json()
    assert (message["code"], message["error"]) == (404, "SANDBOX_NOT_FOUND")


@pytest.mark.parametrize("given", ["abc-123", "a" * 128])
def test_a_request_id_is_kept_and_logged(api: httpx.Client, server: Server, given: str) -> None:
    response = api.get("/v0/sandboxes", headers={"X-Request-Id": given})
    assert response.headers["x-request-id"] == given
    assert server.logged(request_id=given)


def test_failures_of_the_data_plane_are_logged_with_their_id(
    api: httpx.Client, server: Server
) -> None:
    answer = api.get("/main/sandboxes/nope/health?token=query-secret-value")
    line = server.logged(request_id=answer.headers["x-request-id"])
    assert (line["path"], line["status"]) == ("/main/sandboxes/nope/health", 404)


@pytest.mark.parametrize("given", ["a b", "a" * 129, "<script>"])
def test_an_unfit_request_id_is_replaced(api: httpx.Client, given: str) -> None:
    assert (
        api.get("/v0/sandboxes", headers={"X-Request-Id": given}).headers["x-request-id"] != given
    )


def test_unknown_paths_and_methods(api: httpx.Client) -> None:
    for path in ("/v0/nope", "/v0/sandboxes/a/nope", "/v0/sandboxes/nope%2Fx", "/v0/"):
        assert_error(api.get(path), 404, "NOT_FOUND")
    assert_error(api.patch("/v0/sandboxes"), 405, "METHOD_NOT_ALLOWED")
    assert_error(api.put("/v0/sandboxes", json={}), 405, "METHOD_NOT_ALLOWED")
    assert_error(api.get("/nope"), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "empty"),
        (b"{", "JSON"),
        (b"nonsense", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[]", "The request body"),
        (b"null", "The request body"),
        (b"{}", "metadata"),
        (b'{"metadata":{},"spec":{}}', "metadata.name"),
        (b'{"metadata":{"name":5},"spec":{}}', "metadata.name"),
        (b'{"metadata":{"name":"a"},"spec":{"runtime":{"model":[]}}}', "spec.runtime.model"),
        (b'{"metadata":{"name":"a"},"spec":{"runtime":{"type":"x"}}}', "spec.runtime.type"),
        (b'{"metadata":{"name":"a","labels":{"k":1}},"spec":{}}', "metadata.labels"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested"),
    ],
)
def test_bodies_that_are_not_what_is_wanted(api: httpx.Client, body: bytes, field: str) -> None:
    response = api.post("/v0/models", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["code"] == 400
    assert field in response.json()["message"]


def test_a_body_over_the_limit(api: httpx.Client) -> None:
    response = api.post("/v0/models", content=b" " * (10 * 1024 * 1024 + 1))
    assert_error(response, 413, "REQUEST_ENTITY_TOO_LARGE")


def test_creating_a_sandbox_has_an_envelope_of_its_own(server: Server) -> None:
    with bare(server, Authorization=f"Bearer {KEY}") as client:
        response = client.post("/v0/sandboxes", content=b"{")
        anonymous = httpx.post(f"{server.url}/v0/sandboxes", json={}, trust_env=False)
    assert response.status_code == 400
    body = response.json()
    assert (body["code"], body["status_code"]) == ("INVALID_JSON", 400)
    assert body["message"]
    assert (anonymous.json()["code"], anonymous.json()["status_code"]) == (
        "AUTHENTICATION_REQUIRED",
        401,
    )


@pytest.mark.parametrize("name", ["A", "a_b", "-a", "a-", "a--b", "", "a" * 50, "é", "a/b", "a b"])
def test_names_that_break_the_rules(api: httpx.Client, name: str) -> None:
    response = api.post("/v0/models", json={"metadata": {"name": name}, "spec": {}})
    assert_error(response, 400, "INVALID_NAME")


def test_no_secret_is_logged(api: httpx.Client, server: Server) -> None:
    api.get("/v0/sandboxes", params={"token": "query-secret-value"})
    text = server.log.read_text()
    assert KEY not in text
    assert "query-secret-value" not in text


def test_curl_gets_the_same_as_the_sdk(server: Server) -> None:
    answer = subprocess.run(
        ["curl", "-sS", f"{server.url}/v0/versions"], capture_output=True, text=True, check=True
    )
    assert json.loads(answer.stdout)["default"] == "2026-04-16"


def test_a_client_that_leaves_in_mid_body_is_no_failure_of_ours(server: Server) -> None:
    head = f"POST /v0/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(f"{head}X-Request-Id: left-early\r\nContent-Length: 99\r\n\r\n{{".encode())
    line = server.logged(request_id="left-early")
    assert (line["event"], line["status"]) == ("request", 400)
