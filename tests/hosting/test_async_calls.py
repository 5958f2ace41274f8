"""Asynchronous calls: answered at once, made from a queue, told by a signed callback."""

import http.server
import itertools
import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from platform_server import Server
from serai.hosting.callbacks import signed

from .apps import deploy, deployment, until

pytestmark = pytest.mark.sandbox
numbers = itertools.count()


class Receiver:
    """A server for callbacks; answers 500 as often as it is told to."""

    def __init__(self) -> None:
        self.got: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        self.refuse = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.refuse -= 1
                self.send_response(500 if outer.refuse >= 0 else 200)
                self.end_headers()
                outer.got.put(({k.lower(): v for k, v in self.headers.items()}, body))

            def log_message(self, *args: Any) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/told?x=1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.close()


def with_callback(name: str, url: str, **settings: Any) -> dict[str, Any]:
    configuration = {"callbackUrl": url, **settings}
    trigger = {"id": "later", "type": "http-async", "configuration": configuration}
    return deployment(name, triggers=[trigger])


def secret_of(body: dict[str, Any]) -> str:
    return str(body["spec"]["triggers"][0]["configuration"]["callbackSecret"])


def running(server: Server) -> int:
    """How many calls have been begun."""
    with closing(sqlite3.connect(server.data_dir / "serai.db")) as database:
        query = "SELECT count(*) FROM hosted_calls WHERE state = 'running'"
        return int(database.execute(query).fetchone()[0])


def test_a_call_is_answered_at_once_and_told_later(quick: httpx.Client, receiver: Receiver) -> None:
    name = f"later-{next(numbers)}"
    made = quick.post("/v0/agents", json=with_callback(name, receiver.url)).json()
    secret = secret_of(made)
    assert "*" not in secret
    assert set(secret_of(quick.get(f"/v0/agents/{name}").json())) == {"*"}
    deploy(quick, with_callback(name, receiver.url))
    receiver.refuse = 1
    answer = quick.post(
        f"/main/agents/{name}/work?async=true&x=1", content=b"do it", headers={"Thread-Id": "9"}
    )
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    receiver.got.get(timeout=60)
    headers, body = receiver.got.get(timeout=60)
    told = json.loads(body)
    asked = json.loads(told["response_body"])
    assert told["status_code"] == 200
    assert told["response_length"] == len(told["response_body"])
    assert (asked["path"], asked["body"]) == ("/work?x=1", "do it")
    assert asked["headers"]["thread-id"] == "9"
    assert "authorization" not in asked["headers"]
    at = int(headers["x-blaxel-timestamp"])
    assert signed(body, secret, at)["x-blaxel-signature"] == headers["x-blaxel-signature"]
    quick.delete(f"/v0/agents/{name}")


def test_results_do_not_go_to_this_machine_unless_allowed(api: httpx.Client) -> None:
    for url in ("http://127.0.0.1:9/x", "http://localhost/x", "http://169.254.169.254/latest"):
        answer = api.post("/v0/agents", json=with_callback("nowhere", url))
        assert answer.status_code == 400, answer.text
        assert "callbackUrl" in answer.json()["message"]


def test_calls_survive_a_kill(new_server: Callable[..., Server], receiver: Receiver) -> None:
    server = new_server(SERAI_PRIVATE_CALLBACKS="1", SERAI_ASYNC_CALLS="1").start()
    deploy(server.client, with_callback("later", receiver.url))
    path = "/main/agents/later/slow"
    for seconds in ("30", "0", "0"):
        assert server.client.post(f"{path}?async=true&s={seconds}").status_code == 200
    until(lambda: running(server))
    server.kill()
    server.start()
    told = [json.loads(receiver.got.get(timeout=90)[1]) for _ in range(3)]
    codes = sorted(each["status_code"] for each in told)
    assert codes == [200, 200, 502]
    lost = next(each for each in told if each["status_code"] == 502)
    assert json.loads(lost["response_body"])["error"]["code"] == "CALL_OUTCOME_UNKNOWN"
    assert receiver.got.empty()
