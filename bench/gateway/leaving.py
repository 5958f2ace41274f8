"""How soon the provider's work ends once the client has left, on every way through the gateway."""

import itertools
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.gateway.load import Failed, question
from bench.gateway.targets import Target
from bench.platform import KEY, free_port

_PATIENCE = 10.0
_EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT)
)
_PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
WAYS = ("silent", "stream", "patient", "patient-stream")
"""A provider that says nothing yet, one in mid-stream; ``patient`` models may be tried again."""


class Listening:
    """A provider that begins to answer, and notes when its caller has left."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", free_port()))
        self.port: int = self._server.getsockname()[1]
        self.asked: queue.Queue[None] = queue.Queue()
        self.left: queue.Queue[float] = queue.Queue()
        self.kind = ""

    def serve(self) -> None:
        """Until the socket is closed."""
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """No more connections."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            waits = False
            while True:
                try:
                    data = connection.recv(65536)
                except OSError:
                    data = b""
                if not data:
                    if waits:
                        self.left.put(time.monotonic())
                    return
                waits = self.kind != "warm"
                if waits and "stream" not in self.kind:
                    self.asked.put(None)
                    continue
                connection.sendall(_STREAM if waits else _PLAIN)


@contextmanager
def _listening() -> Iterator[Listening]:
    provider = Listening()
    threading.Thread(target=provider.serve, daemon=True).start()
    try:
        yield provider
    finally:
        provider.close()


def leaving(serai: Target, times: int) -> list[float]:
    """Seconds from a client's leaving until the provider knew, in turns on each way.

    Raises:
        Failed: the provider was not told within ten seconds.
    """
    platform = serai.platform
    assert platform is not None
    with _listening() as provider:
        for name, gateway in (("leave", {}), ("leave-patient", {"retries": {"attempts": 1}})):
            config = {"baseUrl": f"http://127.0.0.1:{provider.port}/v1"}
            secret = {"apiKey": "sk-provider"}
            connection = {"integration": "openai", "secret": secret, "config": config}
            platform.post("/v0/integrations/connections", name, connection)
            runtime = {"type": "openai", "model": "provider-model"}
            spec = {"runtime": runtime, "integrationConnections": [name], "gateway": gateway}
            platform.post("/v0/models", name, spec)
        ways = itertools.islice(itertools.cycle(WAYS), times * len(WAYS))
        return [_leave(serai, provider, way) for way in ways]


def _leave(serai: Target, provider: Listening, way: str) -> float:
    model = "leave-patient" if way.startswith("patient") else "leave"
    lane = "stream" if way.endswith("stream") else "json"
    body = question(serai, lane)
    request = (
        f"POST /main/models/{model}/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    client = socket.create_connection(("127.0.0.1", serai.port))
    try:
        provider.kind = "warm"  # leaves a connection, so that the next call goes the short way
        client.sendall(request)
        _expect(client, b"{}")
        provider.kind = way
        client.sendall(request)
        if lane == "stream":
            _expect(client, _EVENT)
        else:
            provider.asked.get(timeout=_PATIENCE)
    except queue.Empty:
        raise Failed(f"the provider was not asked ({way})") from None
    finally:
        left = time.monotonic()
        client.close()
    try:
        return provider.left.get(timeout=_PATIENCE) - left
    except queue.Empty:
        raise Failed(f"the provider was not told that the client had left ({way})") from None


def _expect(client: socket.socket, end: bytes) -> None:
    client.settimeout(_PATIENCE)
    data = b""
    while end not in data:
        more = client.recv(65536)
        if not more:
            raise Failed(f"the gateway answered {data[:200]!r}")
        data += more
