"""Signed calls to somebody else's server, as the Standard Webhooks specification has them.

Headers: ``webhook-id`` (the same in every attempt), ``webhook-timestamp`` (seconds since 1970, of
the attempt) and ``webhook-signature``: ``v1,`` and the base64 HMAC-SHA256 of
``{id}.{timestamp}.{body}`` with the key that follows ``whsec_`` in the secret.
"""

import base64
import binascii
import hmac
import secrets
from urllib.parse import urlsplit

import msgspec

import serai
from serai.kernel.errors import BadRequest
from serai.kernel.outgoing import AddressForbidden, NotCalled, post

PREFIX = "whsec_"
TIMEOUT_SECONDS = 10
URL_MAX = 2048
KEY_BYTES = range(24, 65)
"""Lengths of a key that the specification allows."""


class Undelivered(Exception):
    """The receiver did not take it; the message says why, without anything it sent."""


class Message(msgspec.Struct, frozen=True):
    """One delivery.

    Attributes:
        id: the same in every attempt.
        url: where to.
        body: JSON.
        secret: as ``new_secret`` makes them.
    """

    id: str
    url: str
    body: str
    secret: str


class Webhooks:
    """Sends messages: to http and https only, without following redirects.

    Args:
        private: whether addresses of this machine and of private networks may be called. Those of
            the link (where clouds keep their metadata services) never are.
    """

    def __init__(self, private: bool) -> None:
        self._private = private

    async def send(self, message: Message, at: int) -> None:
        """Send once; ``at`` is the moment in seconds since 1970.

        Raises:
            Undelivered: no connection, an address that must not be called, or no answer of 2xx
                in time.
        """
        try:
            status = await post(
                message.url,
                message.body.encode(),
                headers(message, at),
                private=self._private,
                seconds=TIMEOUT_SECONDS,
            )
        except AddressForbidden as problem:
            raise Undelivered(f"Webhooks must not call {problem}.") from None
        except TimeoutError:
            raise Undelivered(f"No answer within {TIMEOUT_SECONDS} seconds.") from None
        except NotCalled as problem:
            raise Undelivered(f"It cannot be called: {problem}"[:300]) from None
        if not 200 <= status < 300:
            raise Undelivered(f"The receiver answered with status {status}.")


def headers(message: Message, at: int) -> dict[str, str]:
    """The headers of an attempt."""
    return {
        "content-type": "application/json",
        "user-agent": f"serai/{serai.__version__}",
        "webhook-id": message.id,
        "webhook-timestamp": str(at),
        "webhook-signature": signature(message, at),
    }


def signature(message: Message, at: int) -> str:
    """What proves that a message comes from who knows the secret."""
    key = base64.b64decode(message.secret.removeprefix(PREFIX))
    digest = hmac.digest(key, f"{message.id}.{at}.{message.body}".encode(), "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


def new_secret() -> str:
    """A random secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def check_secret(secret: str) -> str:
    """The secret itself when it can sign.

    Raises:
        BadRequest: it cannot.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if secret.startswith(PREFIX) and len(key) in KEY_BYTES:
        return secret
    raise BadRequest(
        f"secret must be {PREFIX} and the base64 of {KEY_BYTES.start} to {KEY_BYTES.stop - 1} "
        "bytes; leave it out to have one made."
    )


def check_url(url: str, field: str = "webhookUrl") -> str:
    """The URL itself when it is http or https, with a host and without credentials.

    Raises:
        BadRequest: names the field and the fix.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        known = None
    if not known or len(url) > URL_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise BadRequest(f"{field} must be a URL that begins with https:// or http://.")
    if parts.username is not None or parts.password is not None:
        raise BadRequest(f"{field} must not hold a user name or password.")
    return url
