"""What the official CLI sends when it signs in: recorded, and sent again.

``wire.json`` holds, for each command, the requests in order: with the headers that matter, with
secrets replaced by names in braces, and with the status of each answer. Where the CLI can be run,
a test records again and compares; everywhere, another sends the recorded requests.
"""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

FILE = Path(__file__).with_name("wire.json")
HEADERS = (
    "authorization",
    "blaxel-version",
    "content-type",
    "x-blaxel-authorization",
    "x-blaxel-workspace",
)
LEARNED = ("device_code", "access_token", "refresh_token")
TOKEN_PATH = "/v0/oauth/token"
Exchange = dict[str, Any]


def seen(answer: httpx.Response) -> Exchange:
    """An answer's status, and of one to a POST the members, which clients are strict about."""
    found: Exchange = {"status": answer.status_code}
    if answer.request.method == "POST":
        found["answer"] = sorted(answer.json())
    return found


class Secrets:
    """Secrets by name; the newest answer decides what a name stands for."""

    def __init__(self, **known: str) -> None:
        self._known = dict(known)

    def learn(self, answer: httpx.Response) -> None:
        """Remember the secrets of an answer."""
        body = answer.json()
        for name in LEARNED:
            if isinstance(body, dict) and body.get(name):
                self._known[name] = body[name]

    def put_in(self, text: str) -> str:
        """Secrets in place of their names."""
        for name, value in self._known.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def take_out(self, text: str) -> str:
        """Names in place of secrets, the longest first."""
        for name, value in sorted(self._known.items(), key=lambda item: -len(item[1])):
            text = text.replace(value, f"{{{name}}}")
        return text


class Recorder:
    """A server in front of the real one that notes what passes; ``url`` is for the client."""

    def __init__(self, target: str, secrets: Secrets) -> None:
        self.exchanges: list[Exchange] = []
        self._secrets = secrets
        self._http = httpx.Client(base_url=target, trust_env=False, timeout=30)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Recorder":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._http.close()

    def _pass_on(
        self, method: str, path: str, given: dict[str, str], body: bytes
    ) -> httpx.Response:
        headers = {name: given[name] for name in HEADERS if name in given}
        answer = self._http.request(method, path, headers=headers, content=body)
        sent = {"method": method, "path": path, "headers": headers}
        if body:
            sent["body"] = json.loads(body)
        told = json.loads(self._secrets.take_out(json.dumps(sent)))
        self.exchanges.append(told | seen(answer))
        self._secrets.learn(answer)
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        pass_on = self._pass_on

        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                given = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(given.get("content-length", "0")))
                answer = pass_on(self.command, self.path, given, body)
                self.send_response(answer.status_code)
                for name in ("content-type", "x-should-retry"):
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_GET = do_POST = _serve

            def log_message(self, format: str, *args: Any) -> None:
                """Tests read ``exchanges`` instead."""

        return Handler


def replay(
    exchanges: list[Exchange],
    target: str,
    secrets: Secrets,
    approve: Callable[[str], None],
    token_path: str = TOKEN_PATH,
) -> None:
    """Send recorded requests; each must be answered as it was, and devices are let in."""
    with httpx.Client(base_url=target, trust_env=False, timeout=30) as http:
        for recorded in exchanges:
            sent = json.loads(secrets.put_in(json.dumps(recorded)))
            body = json.dumps(sent["body"]) if "body" in sent else None
            path = sent["path"] if sent["path"] != TOKEN_PATH else token_path
            answer = http.request(sent["method"], path, headers=sent["headers"], content=body)
            assert recorded | seen(answer) == recorded, answer.text
            assert answer.headers["content-type"].startswith("application/json")
            secrets.learn(answer)
            if link := answer.json().get("verification_uri_complete") if body else None:
                approve(link)
