"""CONNECT as clients use it: real sockets, real TLS, a server in a process of its own."""

import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serai.connect.authority import Authority
from serai.connect.proxy import Refusal, parse_target

from .conftest import Running, Start

CLIENTS = {
    "httpx": "import httpx; print(httpx.{method}('{url}'{data}).text)",
    "urllib": (
        "from urllib.request import Request, urlopen; "
        "print(urlopen(Request('{url}', method='{METHOD}'{data})).read().decode())"
    ),
}
PAYLOAD = bytes(range(256)) * 4096 * 8


def receive_exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count and (piece := connection.recv(count - len(data))):
        data += piece
    return bytes(data)


def receive_some(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    assert data, "the server closed the connection"
    return data


def receive_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def ask(port: int, target: str, after: bytes = b"", host: str = "127.0.0.1") -> socket.socket:
    connection = socket.create_connection((host, port), timeout=20)
    request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()
    connection.sendall(request + after)
    return connection


def answer_head(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = connection.recv(1)
        assert piece, head
        head += piece
    return head


@contextmanager
def listener(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on loopback that serves one connection after the other in threads."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=handle, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def upper_case_at_end(connection: socket.socket) -> None:
    """Reads until half-close, then answers with everything it got."""
    with connection:
        connection.sendall(receive_all(connection))


@pytest.mark.parametrize(
    "host", ["api.blaxel.ai", "run.blaxel.ai", "api.blaxel.dev", "run.blaxel.dev"]
)
@pytest.mark.parametrize("client", CLIENTS)
def test_clients_with_fixed_hosts_reach_us(start: Start, client: str, host: str) -> None:
    running = start()
    code = CLIENTS[client].format(
        url=f"https://{host}/v0/x?y=1", method="get", METHOD="GET", data=""
    )
    done = running.run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["target"] == "/v0/x?y=1"
    assert seen["host"] == host
    assert seen["tls"] is True
    assert seen["alpn"] in {"http/1.1", None}


def test_interception_on_both_event_loops_with_a_large_body(server: Running) -> None:
    code = CLIENTS["httpx"].format(
        url="https://api.blaxel.ai/up", method="post", data=f", content=b'x' * {len(PAYLOAD)}"
    )
    done = server.run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["received"] == len(PAYLOAD)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl_reaches_us(server: Running) -> None:
    done = server.run("curl", "-sS", "https://run.blaxel.ai/main/models/m")
    assert json.loads(done.stdout)["target"] == "/main/models/m", done.stderr


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_node_trusts_the_bundle(server: Running) -> None:
    code = f"""
      const tls = require('tls'), net = require('net');
      const s = net.connect({server.port}, '127.0.0.1', () =>
        s.write('CONNECT api.blaxel.ai:443 HTTP/1.1\\r\\n\\r\\n'));
      s.once('data', () => {{
        const t = tls.connect({{socket: s, servername: 'api.blaxel.ai'}}, () => {{
          console.log(t.authorized); process.exit(0); }});
        t.on('error', e => {{ console.error(e); process.exit(1); }});
      }});"""
    done = server.run("node", "-e", code)
    assert done.stdout.strip() == "true", done.stderr


def test_a_client_may_send_its_hello_without_waiting(server: Running) -> None:
    context = ssl.create_default_context(cafile=str(server.bundle))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname="api.blaxel.ai")
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    with ask(server.port, "api.blaxel.ai:443", outgoing.read()) as connection:
        assert answer_head(connection).startswith(b"HTTP/1.1 200 ")
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(receive_some(connection))
        session.write(b"GET /early HTTP/1.1\r\nHost: api.blaxel.ai\r\n\r\n")
        connection.sendall(outgoing.read())
        data = b""
        while b"/early" not in data:
            incoming.write(receive_some(connection))
            try:
                data += session.read(65536)
            except ssl.SSLWantReadError:
                continue


@pytest.mark.parametrize(
    "target",
    [
        "any.us-pdx-1.bl.run:443",
        "API.blaxel.ai.:80",
        "docs.blaxel.ai:443",
        "app.blaxel.dev:443",
        "blaxel.ai:443",
        "o4508714045276160.ingest.us.sentry.io:443",
    ],
)
def test_the_hosted_service_is_refused_and_says_why(start: Start, target: str) -> None:
    with ask(start().port, target) as connection:
        answer = receive_all(connection).decode()
    assert answer.startswith("HTTP/1.1 403 Serai keeps this client off the hosted service\r\n")
    assert "would send its API key along" in answer


def test_a_refusal_is_readable_in_a_client(start: Start) -> None:
    code = CLIENTS["httpx"].format(url="https://x.bl.run/", method="get", data="")
    done = start().run(sys.executable, "-c", code)
    assert "403 Serai keeps this client off the hosted service" in done.stderr


@pytest.mark.parametrize("target", ["nonsense", "host:", "host:0", "host:99999", ":443", "a/b:1"])
def test_a_malformed_target_is_a_bad_request(start: Start, target: str) -> None:
    with ask(start().port, target) as connection:
        assert receive_all(connection).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_targets_are_normalised() -> None:
    assert parse_target("Example.COM.:8443") == ("example.com", 8443)
    assert parse_target("[2001:DB8::1]:443") == ("2001:db8::1", 443)
    with pytest.raises(Refusal):
        parse_target("example.com:٤٤٣")


def test_other_hosts_are_tunnelled_with_their_own_certificate(
    server: Running, tmp_path: Path
) -> None:
    """A TLS server with a certificate of its own, 8 MiB each way, checked end to end."""
    other = Authority(tmp_path / "other")
    other.prepare({})
    secure = other.ssl_context()

    def echo(plain: socket.socket) -> None:
        with secure.wrap_socket(plain, server_side=True) as connection:
            connection.sendall(receive_exactly(connection, len(PAYLOAD)))

    with listener(echo) as port, ask(server.port, f"localhost:{port}") as connection:
        assert answer_head(connection).startswith(b"HTTP/1.1 200 ")
        context = ssl.create_default_context(cafile=str(other.directory / "ca.pem"))
        with context.wrap_socket(connection, server_hostname="localhost") as client:
            # One thread: an ssl.SSLSocket must not be read and written at the same time.
            client.sendall(PAYLOAD)
            assert receive_exactly(client, len(PAYLOAD)) == PAYLOAD


def test_half_close_passes_through_and_the_answer_comes_back(server: Running) -> None:
    with (
        listener(upper_case_at_end) as port,
        ask(server.port, f"127.0.0.1:{port}", b"early ") as connection,
    ):
        assert answer_head(connection).startswith(b"HTTP/1.1 200 ")
        threading.Thread(
            target=lambda: (connection.sendall(PAYLOAD), connection.shutdown(socket.SHUT_WR)),
            daemon=True,
        ).start()
        assert receive_all(connection) == b"early " + PAYLOAD


def test_a_slow_reader_holds_the_sender_back(server: Running) -> None:
    """The proxy must not take in without limit what the other side does not read."""
    sent = 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        connection.settimeout(1)
        try:
            while sent < 256 * 2**20:
                sent += connection.send(bytes(2**20))
        except TimeoutError:
            pass
        stopped.set()

    stopped = threading.Event()
    with listener(flood) as port, ask(server.port, f"127.0.0.1:{port}") as connection:
        answer_head(connection)
        assert stopped.wait(60)
        assert sent < 64 * 2**20


def test_the_far_end_closing_ends_the_tunnel(server: Running) -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"bye")
        connection.close()

    with listener(greet) as port, ask(server.port, f"127.0.0.1:{port}") as connection:
        answer_head(connection)
        assert receive_all(connection) == b"bye"


def test_an_unreachable_host_is_a_bad_gateway(server: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with ask(server.port, f"127.0.0.1:{port}") as connection:
        answer = receive_all(connection)
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"cannot connect to 127.0.0.1" in answer
    with ask(server.port, "no-such-host.invalid:443") as connection:
        assert receive_all(connection).startswith(b"HTTP/1.1 502 ")


def test_tunnels_use_the_environments_own_proxy(start: Start) -> None:
    requests = []

    def company_proxy(connection: socket.socket) -> None:
        with connection:
            requests.append(answer_head(connection).decode())
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nwelcome ")
            connection.sendall(receive_exactly(connection, 5))

    with listener(company_proxy) as port:
        running = start(HTTPS_PROXY=f"http://user:p%40ss@127.0.0.1:{port}", NO_PROXY="direct.test")
        with ask(running.port, "example.com:443", b"hello") as connection:
            answer_head(connection)
            assert receive_all(connection) == b"welcome hello"
    assert requests[0].startswith("CONNECT example.com:443 HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic dXNlcjpwQHNz" in requests[0]


def test_a_proxy_that_refuses_is_a_bad_gateway(start: Start) -> None:
    def refuse(connection: socket.socket) -> None:
        with connection:
            answer_head(connection)
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")

    with listener(refuse) as port:
        running = start(HTTPS_PROXY=f"http://127.0.0.1:{port}")
        with ask(running.port, "example.com:443") as connection:
            answer = receive_all(connection)
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"answered 407" in answer


def test_a_client_that_does_not_trust_us_does_not_stop_the_server(server: Running) -> None:
    with ask(server.port, "api.blaxel.ai:443") as connection:
        answer_head(connection)
        connection.sendall(b"this is no TLS at all\r\n\r\n")
        assert b"HTTP" not in receive_all(connection)
    test_half_close_passes_through_and_the_answer_comes_back(server)


@pytest.mark.skipif(not shutil.which("ip"), reason="iproute2 is not installed")
def test_a_peer_on_another_machine_is_refused(start: Start) -> None:
    """A network namespace joined by a veth pair stands for the other machine."""
    name = "serai-remote"
    commands = [
        f"ip netns add {name}",
        f"ip link add serai-near type veth peer name serai-far netns {name}",
        "ip addr add 198.51.100.1/30 dev serai-near",
        "ip link set serai-near up",
        f"ip -n {name} addr add 198.51.100.2/30 dev serai-far",
        f"ip -n {name} link set serai-far up",
    ]
    try:
        for command in commands:
            done = subprocess.run(command.split(), capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"cannot make a network namespace here: {done.stderr.strip()}")
        running = start(host="0.0.0.0")
        client = (
            "import socket; c = socket.create_connection(('198.51.100.1', %d), timeout=10); "
            "c.sendall(b'CONNECT 127.0.0.1:22 HTTP/1.1\\r\\n\\r\\n'); print(c.recv(4096).decode())"
        )
        done = subprocess.run(
            ["ip", "netns", "exec", name, sys.executable, "-c", client % running.port],
            capture_output=True,
            text=True,
        )
        assert done.stdout.startswith("HTTP/1.1 403 Serai proxies for this machine only"), done
        with ask(running.port, "nonsense", host="198.51.100.1") as connection:
            assert receive_all(connection).startswith(b"HTTP/1.1 400 ")
    finally:
        subprocess.run(["ip", "link", "del", "serai-near"], capture_output=True)
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
