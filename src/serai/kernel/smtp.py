"""Where mail is handed over: an SMTP server, as one URL says."""

from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

StartTls = Literal["required", "offered", "never"]
CHOICES = ("required", "offered", "never")


class SmtpServer(msgspec.Struct, frozen=True):
    """An SMTP server.

    Attributes:
        host: its name, which its certificate must be for.
        port: TCP port.
        tls: whether the connection is encrypted from the start.
        starttls: whether it has to become encrypted, does when the server offers it, or stays as
            it is. A password is never sent in the clear unless this says ``never``.
        user: who we are; ``None`` to hand over without signing in.
        password: to sign in with.
    """

    host: str
    port: int
    tls: bool
    starttls: StartTls
    user: str | None = None
    password: str = ""


def parse_smtp_url(text: str) -> SmtpServer:
    """``smtp[s]://[user:password@]host[:port][?starttls=required|offered|never]``.

    Ports are 587 and, for ``smtps``, 465 unless given. ``required`` is the default wherever there
    is a password, else ``offered``.

    Raises:
        ValueError: it has not that form.
    """
    parts = urlsplit(text)
    options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    wanted = options.pop("starttls", "required" if parts.username else "offered")
    good = parts.scheme in {"smtp", "smtps"} and parts.hostname and parts.path in {"", "/"}
    if not good or options or wanted not in CHOICES or parts.port == 0 or parts.fragment:
        raise ValueError(
            "must be smtp[s]://user:password@host:port, with ?starttls=required, offered or never"
        )
    assert parts.hostname is not None
    tls = parts.scheme == "smtps"
    return SmtpServer(
        host=parts.hostname,
        port=parts.port or (465 if tls else 587),
        tls=tls,
        starttls=msgspec.convert(wanted, StartTls),
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password or ""),
    )
