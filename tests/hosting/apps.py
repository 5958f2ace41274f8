"""Tiny servers that run in boxes, and how they are deployed over HTTP."""

import time
from collections.abc import Callable
from typing import Any

import httpx

ECHO = """
import http.server, json, os, signal, sys, time
WHO = os.environ.get("WHO", "?")
print("started", WHO, flush=True)
signal.signal(signal.SIGTERM, lambda *_: (print("leaving", WHO, flush=True), os._exit(0)))
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def answer(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length).decode()
        if self.path.startswith("/slow"):
            time.sleep(float(self.path.partition("=")[2]))
        if self.path == "/crash":
            print("oh no", file=sys.stderr, flush=True)
            os._exit(7)
        if self.path == "/stream":
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for number in range(3):
                piece = b"data: %d\\n\\n" % number
                self.wfile.write(b"%x\\r\\n%b\\r\\n" % (len(piece), piece))
                self.wfile.flush()
                time.sleep(0.2)
            self.wfile.write(b"0\\r\\n\\r\\n")
            return
        env = {key: value for key, value in os.environ.items() if key in SHOWN}
        found = {"who": WHO, "path": self.path, "method": self.command, "body": body,
                 "headers": {k.lower(): v for k, v in self.headers.items()}, "env": env}
        data = json.dumps(found).encode()
        self.send_response(int(self.headers.get("x-want-status") or 200))
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    do_GET = do_POST = do_PUT = answer
SHOWN = {"HOST", "PORT", "BL_WORKSPACE", "BL_NAME", "BL_TYPE", "PASSWORD", "PLAIN"}
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512
Server(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"""
WRONG_PORT = ECHO.replace('int(os.environ["PORT"])', "3456")
SILENT = "import time; print('thinking', flush=True); time.sleep(3600)"
BROKEN = "print('no module named sense', flush=True); raise SystemExit(3)"
MEMORY = 256


def deployment(name: str, source: str = ECHO, **spec: Any) -> dict[str, Any]:
    """The document of an agent or a function that runs a program."""
    runtime = {
        "image": "blaxel/py-app:latest",
        "memory": MEMORY,
        "command": ["python3", "-c", source],
    } | spec.pop("runtime", {})
    return {"metadata": {"name": name}, "spec": {"runtime": runtime} | spec}


def who(name: str) -> dict[str, Any]:
    """Settings that make the program say who it is."""
    return {"envs": [{"name": "WHO", "value": name}]}


def until(happened: Callable[[], Any], seconds: float = 90) -> Any:
    """Wait until something is true; what it was."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := happened():
            return found
        time.sleep(0.05)
    raise AssertionError("it never happened")


def settled(api: httpx.Client, name: str, kind: str = "agents") -> dict[str, Any]:
    """The document once it is deployed, or not any more."""

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = api.get(f"/v0/{kind}/{name}").json()
        return found if found.get("status") in {"DEPLOYED", "FAILED"} else None

    return dict(until(look))


def deploy(
    api: httpx.Client, body: dict[str, Any], kind: str = "agents", *, status: str = "DEPLOYED"
) -> dict[str, Any]:
    """Create or replace it, and wait for what comes of it."""
    name = body["metadata"]["name"]
    answer = api.put(f"/v0/{kind}/{name}", json=body)
    if answer.status_code == 404:
        answer = api.post(f"/v0/{kind}", json=body)
    assert answer.status_code == 200, answer.text
    wanted = answer.json()["spec"]["revision"]["active"]

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = api.get(f"/v0/{kind}/{name}").json()
        told = [each for each in found["events"] if each.get("revision") == wanted]
        done = any(each["type"] == "deployment" for each in told)
        return found if done and found["status"] in {"DEPLOYED", "FAILED"} else None

    found = dict(until(look))
    assert found["status"] == status, found["events"]
    return found


def lines_of(api: httpx.Client, name: str, text: str) -> int:
    """How many lines of an agent have a text in them."""
    query = {"resourceType": "agents", "workloadIds": name, "type": "all", "limit": "1000"}
    moments = {"start": "2025-01-01T00:00:00", "end": "2099-01-01T00:00:00"}
    answer = api.get("/v0/observability/logs", params=query | moments)
    assert answer.status_code == 200, answer.text
    return sum(1 for line in answer.json()[name]["logs"] if text in line["message"])
