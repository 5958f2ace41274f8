"""Where codes may be sent: which redirect URIs a client may register, and which match.

A match is exact, character by character. Only the port of a loopback address is free, as a native
application listens on whichever it gets (RFC 8252, section 7.3).
"""

import re
from urllib.parse import SplitResult, urlsplit

from serai.kernel.errors import BadRequest

LENGTH_MAX = 2048
LOOPBACK = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\]|localhost))(?::(\d{1,5}))?((?:[/?].*)?)\Z")
PLAIN = re.compile(r"[!-~]+\Z")
PRIVATE_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+\Z")
FORBIDDEN = {"#": "a fragment", "*": "a wildcard", "\\": "a backslash"}


def check(uri: str) -> str:
    """The URI itself when a client may register it.

    Raises:
        BadRequest: naming the URI, and what is wrong with it.
    """
    problem = _problem(uri)
    if problem is None:
        return uri
    raise BadRequest(
        f"redirect_uris: {uri[:200]!r} {problem}. Use https://…, http:// on 127.0.0.1, [::1] or "
        "localhost, or a scheme of your own with a dot in it, such as com.example.app:/callback.",
        code="INVALID_REDIRECT_URI",
    )


def matches(registered: str, sent: str) -> bool:
    """Whether a URI in a request is one that was registered."""
    if registered == sent:
        return True
    ours, theirs = _loopback(registered), _loopback(sent)
    return ours is not None and ours == theirs


def is_loopback(uri: str) -> bool:
    """Whether it leads to the machine of the person who signs in, and nowhere else."""
    return _loopback(uri) is not None


def _loopback(uri: str) -> tuple[str, str] | None:
    """The URI without its port, in two parts."""
    found = LOOPBACK.match(uri) if _problem(uri) is None else None
    return (found[1], found[3]) if found else None


def _problem(uri: str) -> str | None:
    if len(uri) > LENGTH_MAX or not PLAIN.match(uri):
        return f"is not 1 to {LENGTH_MAX} printable ASCII characters without spaces"
    for character, name in FORBIDDEN.items():
        if character in uri:
            return f"has {name}"
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return "is not a URI"
    if "@" in parts.netloc:
        return "has a user name"
    return "has the port 0" if port == 0 else _scheme_problem(uri, parts)


def _scheme_problem(uri: str, parts: SplitResult) -> str | None:
    if parts.scheme == "https" and uri.startswith("https://"):
        return None if parts.hostname else "has no host"
    if parts.scheme == "http":
        return None if LOOPBACK.match(uri) else "is not encrypted and leaves the machine"
    return None if PRIVATE_SCHEME.match(uri.partition(":")[0]) else "has an unusable scheme"
