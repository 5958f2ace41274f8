"""The cookie by which a browser keeps a preview's token, and the cookies of what is behind it."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from serai.gateway.request import Request
from serai.kernel.addresses import is_local_name

NAME = b"serai-preview"
SECURE_NAME = b"__Host-serai-preview"
EMBEDDED_NAME = b"serai-preview-embedded"
_NAMES = frozenset({NAME, SECURE_NAME, EMBEDDED_NAME})
_EMBEDDED = b"; Secure; SameSite=None; Partitioned"
"""Also sent when the page is in a frame of another site, but then only in frames of that site."""

TOKEN_MAX = 128


def tokens_in(header: bytes) -> Iterator[bytes]:
    """The tokens in a ``Cookie`` header."""
    for pair in header.split(b";"):
        name, _, value = pair.strip().partition(b"=")
        if name in _NAMES and 0 < len(value) <= TOKEN_MAX:
            yield value


def setting(token: bytes, host: str, secure: bool, seconds: int | None) -> list[bytes]:
    """Values of ``Set-Cookie`` that keep a token.

    Args:
        token: of URL-safe characters, as it was accepted.
        host: of the preview.
        secure: it came over https.
        seconds: until it ends; None for as long as the browser is open.
    """
    common = b"=" + token + b"; Path=/; HttpOnly"
    if seconds is not None:
        common += b"; Max-Age=%d" % seconds
    if secure:
        return [SECURE_NAME + common + _EMBEDDED]
    lines = [NAME + common + b"; SameSite=Lax"]
    if is_local_name(host):  # which browsers trust as they trust https
        lines.append(EMBEDDED_NAME + common + _EMBEDDED)
    return lines


def counts(request: Request) -> bool:
    """Whether a cookie of a request is the will of who looks at the preview.

    Pages of other previews may be of one site with this one, so that browsers send the cookie with
    their requests too: those count only when a person goes to a page.
    """
    index = request.index
    site = index.get(b"sec-fetch-site")
    if site in (b"same-origin", b"none"):
        return True
    if site is not None and index.get(b"sec-fetch-mode") == b"navigate":
        return request.method in (b"GET", b"HEAD")
    origin = index.get(b"origin")
    if origin is not None:
        return _host_of(origin) == index.get(b"host", b"").lower()
    return site is None and request.method in (b"GET", b"HEAD") and not request.upgrade


def _host_of(origin: bytes) -> bytes:
    try:
        return urlsplit(origin.decode("latin-1").lower()).netloc.encode("latin-1")
    except ValueError:
        return b""


def host_only(value: bytes) -> bytes:
    """A ``Set-Cookie`` value without its ``Domain``: other previews are below that too."""
    first, *attributes = value.split(b";")
    kept = [one for one in attributes if one.partition(b"=")[0].strip().lower() != b"domain"]
    return b";".join([first, *kept]) if len(kept) != len(attributes) else value
