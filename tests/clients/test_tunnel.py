"""The CONNECT proxy of the real server: closed to the hosted service, open to everything else."""

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from platform_server import Server

pytestmark = pytest.mark.clients

REFUSED = [
    "any.us-pdx-1.bl.run:443",
    "events.blaxel.ai:443",
    "o4508714045276160.ingest.us.sentry.io:443",
    "registry.blaxel.dev:443",
    "api.blaxel.ai:80",
    "API.Blaxel.AI.:8443",
]


def connect(server: Server, target: str) -> tuple[socket.socket, bytes]:
    """Ask the server for a tunnel; returns the connection and the head of the answer."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head and (more := connection.recv(1)):
        head += more
    return connection, head


@pytest.mark.parametrize("target", REFUSED)
def test_the_hosted_service_is_refused(server: Server, target: str) -> None:
    connection, head = connect(server, target)
    with connection:
        assert head.startswith(b"HTTP/1.1 403 "), head
        rest = b"".join(iter(lambda: connection.recv(4096), b""))
    assert b"hosted service" in rest


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[tuple[int, bytes]]:
    """A TLS server that is nobody of ours: its port, and its certificate (DER)."""
    pem, der = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20)

    def serve() -> None:
        plain, _ = listener.accept()
        with context.wrap_socket(plain, server_side=True) as connection:
            connection.sendall(b"heard " + connection.recv(100))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1], der
    thread.join(20)
    listener.close()


def self_signed(directory: Path) -> tuple[Path, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "elsewhere")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = directory / "elsewhere.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path, certificate.public_bytes(serialization.Encoding.DER)


def test_another_host_is_tunnelled_untouched(server: Server, elsewhere: tuple[int, bytes]) -> None:
    port, certificate = elsewhere
    connection, head = connect(server, f"localhost:{port}")
    assert head.startswith(b"HTTP/1.1 200 "), head
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(connection, server_hostname="localhost") as secure:
        assert secure.getpeercert(binary_form=True) == certificate
        secure.sendall(b"a secret")
        assert secure.recv(100) == b"heard a secret"


def test_a_served_host_gets_our_certificate(server: Server) -> None:
    connection, head = connect(server, "api.blaxel.ai:443")
    assert head.startswith(b"HTTP/1.1 200 "), head
    context = ssl.create_default_context(cafile=str(server.data_dir / "ca" / "ca.pem"))
    with context.wrap_socket(connection, server_hostname="api.blaxel.ai") as secure:
        secure.sendall(b"GET /health HTTP/1.1\r\nHost: api.blaxel.ai\r\n\r\n")
        assert secure.recv(12) == b"HTTP/1.1 200"
