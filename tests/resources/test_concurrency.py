"""ETag, If-Match and Idempotency-Key."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from platform_server import KEY, Server

numbers = itertools.count()


def body(name: str | None = None, **labels: str) -> dict[str, Any]:
    """A model."""
    return {"metadata": {"name": name or f"c-{next(numbers)}", "labels": labels}, "spec": {}}


def test_a_stale_write_is_refused(api: httpx.Client) -> None:
    sent = body()
    path = f"/v0/models/{sent['metadata']['name']}"
    first = api.post("/v0/models", json=sent).headers["etag"]
    assert api.get(path).headers["etag"] == first
    changed = api.put(path, json=body(sent["metadata"]["name"], a="1"), headers={"If-Match": first})
    assert changed.status_code == 200
    second = changed.headers["etag"]
    assert second != first
    for refused in (
        api.put(path, json=sent, headers={"If-Match": first}),
        api.delete(path, headers={"If-Match": f'{first}, "other"'}),
    ):
        assert (refused.status_code, refused.json()["error"]) == (409, "GENERATION_CONFLICT")
        assert second in refused.json()["message"]
    same = api.put(path, json=body(sent["metadata"]["name"], a="1"), headers={"If-Match": "*"})
    assert same.headers["etag"] == second
    assert api.delete(path, headers={"If-Match": f"W/{second}"}).status_code == 200
    assert api.post("/v0/models", json=sent).headers["etag"] not in {first, second}


def test_of_many_writers_with_one_tag_one_wins(server: Server, api: httpx.Client) -> None:
    sent = body()
    tag = api.post("/v0/models", json=sent).headers["etag"]
    name = sent["metadata"]["name"]

    def write(number: int) -> int:
        wanted = body(name, writer=str(number))
        with server.client_for(KEY, **{"If-Match": tag}) as client:
            return client.put(f"/v0/models/{name}", json=wanted).status_code

    with ThreadPoolExecutor(16) as pool:
        assert sorted(pool.map(write, range(16))) == [200, *[409] * 15]


def test_a_repeated_post_is_answered_as_before(api: httpx.Client) -> None:
    sent, key = body(), {"Idempotency-Key": "one"}
    first = api.post("/v0/models", json=sent, headers=key)
    again = api.post("/v0/models", json=sent, headers=key)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.content == first.content
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    other = api.post("/v0/models", json=body(), headers=key)
    assert (other.status_code, other.json()["error"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert api.post("/v0/agents", json=sent, headers=key).status_code == 409


def test_a_failed_post_does_not_use_its_key_up(api: httpx.Client) -> None:
    key = {"Idempotency-Key": "two"}
    assert api.post("/v0/models", json={"metadata": {}}, headers=key).status_code == 400
    assert api.post("/v0/models", json=body(), headers=key).status_code == 200


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "é"])
def test_bad_keys(api: httpx.Client, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    answered = api.post("/v0/models", json=body(), headers=headers)  # type: ignore[arg-type]
    assert (answered.status_code, answered.json()["error"]) == (400, "INVALID_IDEMPOTENCY_KEY")


def test_concurrent_duplicates_make_one(server: Server) -> None:
    sent = body()

    def post(_: int) -> tuple[int, bytes]:
        with server.client_for(KEY, **{"Idempotency-Key": "many"}) as client:
            answered = client.post("/v0/models", json=sent)
            return answered.status_code, answered.content

    with ThreadPoolExecutor(16) as pool:
        answers = set(pool.map(post, range(32)))
    assert [status for status, _ in answers] == [200]


def test_keys_survive_a_crash_at_any_moment(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    for round_number in range(3):
        sent = body(f"crash-{round_number}")
        key = {"Idempotency-Key": f"k{round_number}"}
        with ThreadPoolExecutor(1) as pool:
            racing = pool.submit(server.client.post, "/v0/models", json=sent, headers=key)
            if round_number:
                racing.exception()
            server.kill()
            racing.exception()
        server.start()
        again = server.client.post("/v0/models", json=sent, headers=key)
        assert again.status_code == 200, again.text
        assert again.json()["metadata"]["name"] == sent["metadata"]["name"]


def test_a_key_cut_off_after_the_change_finds_what_it_made(
    new_server: Callable[..., Server],
) -> None:
    import sqlite3

    server = new_server().start()
    sent, key = body("cut"), {"Idempotency-Key": "cut"}
    first = server.client.post("/v0/models", json=sent, headers=key)
    server.kill()
    with sqlite3.connect(server.data_dir / "serai.db") as db:
        db.execute("UPDATE idempotency_keys SET answer = NULL")
    server.start()
    assert server.client.post("/v0/models", json=sent, headers=key).json() == first.json()
