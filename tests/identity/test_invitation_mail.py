"""Invitations by mail, through a real SMTP server with STARTTLS and a password."""

import re
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from platform_server import Server, free_port
from serai.kernel.smtp import SmtpServer, parse_smtp_url

USER, PASSWORD = "serai@mail.example", "p@ss/word"


class Post:
    """What an SMTP server got; it refuses who is unknown for good, and who is busy for now."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.attempts = 0

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        self.attempts += 1
        if address.startswith("unknown"):
            return "550 no such mailbox"
        if address.startswith("busy") and self.attempts < 2:
            return "451 try again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        assert session.authenticated
        assert session.ssl is not None
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 taken"

    def wait(self, number: int) -> list[EmailMessage]:
        """The mails, once there are that many."""
        deadline = time.monotonic() + 20
        while len(self.mails) < number and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(self.mails) == number
        return self.mails


def certificate(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate of 127.0.0.1 that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
    moment = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    key_file, certificate_file = folder / "key.pem", folder / "certificate.pem"
    pem = serialization.Encoding.PEM
    key_file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    certificate_file.write_bytes(made.public_bytes(pem))
    return key_file, certificate_file


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("mail"))


def post_office(files: tuple[Path, Path], port: int, post: Post) -> Controller:
    """An SMTP server that takes mail only over TLS and from who knows the password."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files[1], files[0])

    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        known = isinstance(data, LoginPassword)
        good = known and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=good)

    return Controller(
        post,
        hostname="127.0.0.1",
        port=port,
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=check,
    )


class Place:
    """A server of ours and the SMTP server that it uses."""

    def __init__(self, server: Server, post: Post, make: Callable[[], Controller]) -> None:
        self.server = server
        self.post = post
        self._make = make
        self.open_office()

    def open_office(self) -> None:
        """Let the SMTP server answer."""
        self.office = self._make()
        self.office.start()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, files: tuple[Path, Path]) -> Iterator[Place]:
    port, post = free_port(), Post()
    secret = PASSWORD.replace("@", "%40").replace("/", "%2F")
    server = Server(
        tmp_path_factory.mktemp("invitations") / "data",
        SERAI_SMTP_URL=f"smtp://{USER.replace('@', '%40')}:{secret}@127.0.0.1:{port}",
        SERAI_MAIL_FROM="Serai <serai@mail.example>",
        SSL_CERT_FILE=str(files[1]),
    )
    made = Place(server.start(), post, lambda: post_office(files, port, post))
    yield made
    server.stop()
    made.office.stop(no_assert=True)


@pytest.fixture(autouse=True)
def _empty(place: Place) -> None:
    place.post.mails.clear()
    place.post.attempts = 0


def invite(place: Place, email: str) -> dict[str, Any]:
    answer = place.server.client.post("/v0/users", json={"email": email})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def logged(place: Place, event: str, to: str) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        lines = place.server.log.read_text().splitlines()
        if any(f'"{event}"' in line and f'"{to}"' in line for line in lines):
            return True
        time.sleep(0.05)
    return False


def test_the_link_comes_by_mail_and_only_by_mail(place: Place) -> None:
    answer = invite(place, "new@example.com")
    assert "link" not in answer
    (mail,) = place.post.wait(1)
    assert mail["To"] == "new@example.com"
    assert mail["From"] == "Serai <serai@mail.example>"
    assert "main" in mail["Subject"]
    text, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    (link,) = set(re.findall(r"http\S+token=[\w-]+", text.get_content()))
    assert link.startswith(place.server.url + "/invitations?token=")
    assert f'href="{link}"' in html.get_content()
    assert link.partition("token=")[2] not in place.server.log.read_text()
    page = httpx.get(link, trust_env=False)
    assert page.status_code == 200
    assert "new@example.com" in page.text


def test_a_mail_waits_until_the_server_is_there(place: Place) -> None:
    place.office.stop()
    invite(place, "later@example.com")
    assert logged(place, "mail_waits", "later@example.com")
    place.server.kill()
    place.server.start()
    place.open_office()
    (mail,) = place.post.wait(1)
    assert mail["To"] == "later@example.com"
    time.sleep(0.5)
    assert len(place.post.mails) == 1


def test_a_recipient_that_is_refused_for_good_is_not_tried_again(place: Place) -> None:
    invite(place, "unknown@example.com")
    assert logged(place, "mail_refused", "unknown@example.com")
    invite(place, "busy@example.com")
    place.post.wait(1)
    assert place.post.attempts == 2


@pytest.mark.parametrize(
    "email", ["a@example.com\nBcc: b@example.com", "a@b.c\r\nX: y", "a b@example.com", "a@b\x00.c"]
)
def test_no_address_brings_a_header_with_it(place: Place, email: str) -> None:
    answer = place.server.client.post("/v0/users", json={"email": email})
    assert answer.status_code == 400
    assert answer.json()["error"] == "INVALID_EMAIL"
    assert place.post.mails == []


def test_urls() -> None:
    assert parse_smtp_url("smtp://localhost") == SmtpServer("localhost", 587, False, "offered")
    full = parse_smtp_url("smtps://a%40b:p%2Fw@mail.example:4650")
    assert full == SmtpServer("mail.example", 4650, True, "required", "a@b", "p/w")
    assert parse_smtp_url("smtp://u:p@h:25?starttls=never").starttls == "never"
    for text in ("http://h", "smtp://", "smtp://h/x", "smtp://h?tls=1", "smtp://h?starttls=maybe"):
        with pytest.raises(ValueError, match="must be smtp"):
            parse_smtp_url(text)
