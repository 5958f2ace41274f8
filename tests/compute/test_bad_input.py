"""Nothing a client sends may end in a 500, whatever the field."""

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.sandbox

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**60, max_value=2**80),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["", "\0", "ü", "../..", "a--b", "x" * 5000, "9" * 5000, "*/0 * * * *"]),
    st.sampled_from(["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "9999-12-31"]),
)
values = st.recursive(
    scalars, lambda inner: st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=4
)
PREVIEW = ("port", "public", "prefixUrl", "customDomain", "expires", "ttl", "url", "requestHeaders")
SCHEDULE = ("id", "type", "value", "input", "maxExecutions", "createdAt", "sandbox")
INPUT = ("command", "name", "env", "workingDir", "keepAlive", "timeout")


def fields(names: tuple[str, ...], most: int = 2) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), values, max_size=most)


once = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def send(api: httpx.Client, path: str, body: Any) -> None:
    response = api.post(path, json=body)
    assert response.status_code < 500, response.text
    answer = response.json()
    if response.status_code == 200 and "id" in answer:
        api.delete(f"{path}/{answer['id']}")
    elif response.status_code == 200:
        api.delete(f"{path}/{answer['metadata']['name']}")
    else:
        assert answer["message"]


def test_previews(api: httpx.Client, box: str) -> None:
    @once
    @given(fields(PREVIEW), st.one_of(st.just("web"), values))
    def check(spec: dict[str, Any], name: Any) -> None:
        body = {"metadata": {"name": name}, "spec": {"port": 3000} | spec}
        send(api, f"/v0/sandboxes/{box}/previews", body)

    check()


def test_tokens(api: httpx.Client, box: str) -> None:
    body = {"metadata": {"name": "web"}, "spec": {"port": 3000}}
    api.post(f"/v0/sandboxes/{box}/previews", json=body)

    @once
    @given(values, values)
    def check(name: Any, expires_at: Any) -> None:
        body = {"metadata": {"name": name}, "spec": {"expiresAt": expires_at}}
        response = api.post(f"/v0/sandboxes/{box}/previews/web/tokens", json=body)
        assert response.status_code in {200, 400}, response.text

    check()
    assert api.get(f"/v0/sandboxes/{box}/previews/web/tokens").status_code == 200


def test_schedules(api: httpx.Client, box: str) -> None:
    @once
    @given(fields(SCHEDULE), fields(INPUT))
    def check(entry: dict[str, Any], wanted: dict[str, Any]) -> None:
        body = {"type": "cron", "value": "0 8 * * *"}
        given_input = {"input": {"command": "true"} | wanted}
        send(api, f"/v0/sandboxes/{box}/schedules", body | given_input | entry)

    check()


@pytest.mark.parametrize("path", ["schedules", "schedules/metrics", "schedule-executions"])
def test_queries(api: httpx.Client, path: str) -> None:
    names = ("limit", "cursor", "sort", "q", "type", "status", "sandbox", "since", "until")
    texts = st.one_of(
        st.text(max_size=12),
        st.sampled_from(["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "\0", "AAAA", "200"]),
    )

    @once
    @given(st.dictionaries(st.sampled_from(names), texts, max_size=3))
    def check(query: dict[str, str]) -> None:
        response = api.get(f"/v0/{path}", params=query)
        assert response.status_code in {200, 400}, response.text

    check()


@pytest.mark.parametrize("rest", ["previews", "schedules", "snapshots", "fork"])
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b'{"metadata":' * 3000, b'{"a":"' + b"x" * 5_000_000]
)
def test_bodies(api: httpx.Client, box: str, rest: str, body: bytes) -> None:
    response = api.post(f"/v0/sandboxes/{box}/{rest}", content=body)
    if (rest, body) == ("snapshots", b""):
        assert response.status_code == 200  # every field of a snapshot has a default
        return
    assert 400 <= response.status_code < 500, response.text
