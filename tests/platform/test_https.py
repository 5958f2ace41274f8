"""`serai up --https`: TLS and plain HTTP on one port, with real clients."""

import json
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from certificates import write_certificate
from clients.environments import directory
from platform_server import COMMAND, KEY, Server, environment

WANTED = "%{http_code} %{ssl_verify_result}"
CURL = ["curl", "-s", "-o", "/dev/null", "--noproxy", "*", "-w", WANTED]
TOLD = {"Upgrade-Insecure-Requests": "1"}


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("https") / "data", SERAI_TLS="auto").start()
    yield server
    server.stop()


def trusting(server: Server) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(server.data_dir / "ca" / "ca.pem"))


@pytest.fixture
def https(secure: Server) -> Iterator[httpx.Client]:
    url = f"https://127.0.0.1:{secure.port}"
    with httpx.Client(base_url=url, verify=trusting(secure), trust_env=False) as client:
        yield client


def test_the_same_port_speaks_both(secure: Server, https: httpx.Client) -> None:
    assert https.get("/health").json()["status"] == "ok"
    assert httpx.get(f"{secure.url}/health", trust_env=False).json()["status"] == "ok"
    given = {"X-Blaxel-Authorization": f"Bearer {KEY}"}
    assert https.get("/v0/workspaces", headers=given).status_code == 200


def test_urls_and_cookies_are_of_https(secure: Server, https: httpx.Client) -> None:
    page = https.get("/login")
    names = [line.partition("=")[0] for line in page.headers.get_list("set-cookie")]
    assert names
    assert all(name.startswith("__Host-serai") for name in names)
    assert all("Secure" in line for line in page.headers.get_list("set-cookie"))
    # not for a certificate of our own: it would cut off everything else on this machine
    assert "strict-transport-security" not in page.headers
    told = secure.run("status", "--json")
    assert json.loads(told.stdout)["url"] == f"https://127.0.0.1:{secure.port}"


def test_a_browser_without_tls_is_sent_over(secure: Server) -> None:
    with httpx.Client(trust_env=False, headers=TOLD) as client:
        sent = client.get(f"{secure.url}/login?next=/account")
        assert sent.status_code == 307
        there = f"https://127.0.0.1:{secure.port}/login?next=/account"
        assert sent.headers["location"] == there
        assert client.get(secure.url, headers={"Host": "a b"}).status_code != 307
        assert client.post(f"{secure.url}/v0/nothing").status_code == 401


def test_two_requests_and_a_large_body_on_one_connection(https: httpx.Client) -> None:
    body = {"metadata": {"name": "x" * 300_000}}
    for _ in range(2):
        answer = https.post(
            "/v0/sandboxes", json=body, headers={"X-Blaxel-Authorization": f"Bearer {KEY}"}
        )
        assert answer.status_code == 400


def test_broken_and_silent_clients_harm_nobody(secure: Server, https: httpx.Client) -> None:
    for first in (
        b"\x16",
        b"\x16\x03\x01\x00\x05junk!",
        b"\x16" + b"\0" * 70_000,
        b"\0",
        b"\xff\n",
    ):
        with socket.create_connection(("127.0.0.1", secure.port), 10) as raw:
            raw.sendall(first)
            raw.shutdown(socket.SHUT_WR)
            raw.settimeout(20)
            try:
                while raw.recv(65536):
                    pass
            except ConnectionError:
                pass
    with socket.create_connection(("127.0.0.1", secure.port)):
        assert https.get("/health").status_code == 200


def test_a_hello_in_small_pieces(secure: Server) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting(secure).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with socket.create_connection(("127.0.0.1", secure.port), 10) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hello = outgoing.read()
        for start in range(0, len(hello), 40):
            raw.sendall(hello[start : start + 40])
            time.sleep(0.002)
        while True:
            incoming.write(raw.recv(65536))
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
        raw.sendall(outgoing.read())
        assert tls.version() == "TLSv1.3"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_protocols_are_refused(secure: Server) -> None:
    context = trusting(secure)
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", secure.port), 10) as raw,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(raw, server_hostname="localhost")


def test_the_official_sdk_through_its_fixed_hosts_and_by_address(secure: Server) -> None:
    python = directory("py", "0.4.24") / "bin" / "python"
    where = ["--data-dir", str(secure.data_dir)]
    for line in (
        "import urllib.request as u; print(u.urlopen('https://api.blaxel.ai/health').status)",
        "import os, urllib.request as u; url = os.environ['BL_RUN_URL'];"
        "print(u.urlopen(url + '/health').status, url[:8])",
        "import asyncio; from blaxel.core import SandboxInstance;"
        "print(len((asyncio.run(SandboxInstance.list())).data))",
    ):
        done = subprocess.run(
            [*COMMAND, "exec", *where, "--", str(python), "-c", line],
            env=environment(SERAI_ADMIN_API_KEY=KEY),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip() in {"200", "200 https://", "0"}, done.stderr


def test_the_authority_is_told_and_trusted(secure: Server) -> None:
    told = secure.run("ca")
    assert "update-ca-certificates" in told.stdout
    path = secure.data_dir / "ca" / "ca.pem"
    assert str(path) in told.stdout
    assert secure.run("ca", "--pem").stdout == path.read_text()
    for host in ("localhost", "nothing.preview.localhost"):
        done = subprocess.run(
            [*CURL, "--cacert", str(path), f"https://{host}:{secure.port}/health"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == ("200 0" if host == "localhost" else "404 0")


def test_no_authority_yet(tmp_path: Path) -> None:
    told = Server(tmp_path / "none").run("ca")
    assert told.returncode == 1
    assert "serai up" in told.stderr


def test_given_files_and_strict_transport(tmp_path: Path) -> None:
    certificate, key = tmp_path / "site.crt", tmp_path / "site.key"
    write_certificate(certificate, key, "serai.example.com")
    server = Server(
        tmp_path / "data",
        SERAI_TLS=f"{certificate}:{key}",
        SERAI_PUBLIC_URL="https://serai.example.com",
    ).start()
    try:
        context = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(verify=context, trust_env=False) as client:
            answer = client.get(
                f"https://127.0.0.1:{server.port}/login",
                headers={"Host": "serai.example.com"},
                extensions={"sni_hostname": "serai.example.com"},
            )
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"SERAI_TLS": "yes"}, "must be auto, or CERT:KEY"),
        ({"SERAI_TLS": "/nowhere.crt:/nowhere.key"}, "/nowhere.crt: No such file"),
        ({"SERAI_TLS": "auto", "SERAI_PUBLIC_URL": "http://a.example"}, "begins with https://"),
        ({"SERAI_PREVIEW_DOMAIN": "*.a.example"}, "must be a domain"),
        ({"SERAI_PREVIEW_DOMAIN": "a"}, "must be a domain"),
    ],
)
def test_wrong_settings_are_told(tmp_path: Path, environ: dict[str, str], says: str) -> None:
    told = Server(tmp_path / "data").run("up", **environ)
    assert told.returncode != 0
    assert says in told.stderr
