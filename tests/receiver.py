"""A server that takes webhooks and remembers them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Received(NamedTuple):
    """One request: its headers in lower case, and its body."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """What came so far; ``statuses`` are the next answers, 204 when there are none left."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/hook"
        self.received: list[Received] = []
        self.statuses: list[int] = []
        self.arrived = threading.Event()


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Listen on a free port of the loopback interface."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            one.received.append(Received(self.path, headers, body))
            self.send_response(one.statuses.pop(0) if one.statuses else 204)
            self.send_header("location", "/elsewhere")
            self.end_headers()
            one.arrived.set()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    one = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield one
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
