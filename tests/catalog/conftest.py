"""A server, a provider of models, and servers with files of an operator."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from neighbours import add_account
from platform_server import KEY, Server

MODELS = {"object": "list", "data": [{"id": "small", "owned_by": "x"}, {"id": "org/large"}]}


class Provider(BaseHTTPRequestHandler):
    """Lists models to those with the right key; below other paths it misbehaves."""

    def do_GET(self) -> None:
        """Answer by path."""
        key = self.headers.get("authorization") or self.headers.get("x-api-key")
        answers = {
            "/v1/models": (200, MODELS),
            "/broken/v1/models": (200, "no list"),
            "/failing/v1/models": (500, {"error": "out of order"}),
            "/moved/v1/models": (302, {}),
        }
        status, body = answers.get(self.path, (404, {"error": "nothing here"}))
        if key not in {"Bearer sk-right", "sk-right"}:
            status, body = 401, {"error": "bad key"}
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.send_header("location", "/v1/models")
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="session")
def provider() -> Iterator[str]:
    """Base URL of a model provider."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as served:
        Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server shared by the session."""
    shared = Server(tmp_path_factory.mktemp("catalog") / "data").start()
    yield shared
    shared.stop()


@pytest.fixture
def api(server: Server) -> Iterator[httpx.Client]:
    """An admin's client in workspace main."""
    with server.client_for(KEY, **{"X-Blaxel-Workspace": "main"}) as client:
        yield client


@pytest.fixture(scope="session")
def stranger(server: Server) -> Iterator[httpx.Client]:
    """A client in workspace elsewhere, of another account."""
    with server.client_for(add_account(server, "elsewhere")[1]) as client:
        yield client


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[[dict[str, str]], Server]]:
    """Makes a server whose data directory holds files of an operator."""
    made: list[Server] = []

    def make(files: dict[str, str]) -> Server:
        for name, text in files.items():
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        made.append(Server(tmp_path / "data"))
        return made[-1]

    yield make
    for one in made:
        one.stop()
