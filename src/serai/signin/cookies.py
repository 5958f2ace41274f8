"""Our cookies. On an https origin their names begin with ``__Host-``, which ties them to it.

On plain http (a server for this machine alone) browsers share cookies among all ports, so the
port is part of the name.
"""

from urllib.parse import urlsplit

from litestar.datastructures import Cookie

SECRET_MAX = 4000


class Cookies:
    """Names and attributes of the cookies of one origin.

    ``session`` is who is signed in, ``visit`` what forms are bound to before that, ``known`` in
    whose name somebody has signed in here before, ``upstream`` a sign-in elsewhere under way.
    """

    def __init__(self, origin: str) -> None:
        parts = urlsplit(origin)
        self.secure = parts.scheme == "https"
        base = "__Host-serai" if self.secure else f"serai-{parts.port or 80}"
        self.session = f"{base}-session"
        self.visit = f"{base}-visit"
        self.known = f"{base}-known"
        self.upstream = f"{base}-upstream"

    def make(self, name: str, value: str, seconds: int | None = None) -> Cookie:
        """A cookie to set; without ``seconds`` it goes when the browser closes."""
        return Cookie(
            key=name,
            value=value,
            path="/",
            httponly=True,
            samesite="lax",
            secure=self.secure,
            max_age=seconds,
        )


def parse(header: str) -> dict[str, str]:
    """The cookies of a ``Cookie`` header; of several with one name the first (RFC 6265, 5.4)."""
    found: dict[str, str] = {}
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name and len(value) <= SECRET_MAX:
            found.setdefault(name, value)
    return found
