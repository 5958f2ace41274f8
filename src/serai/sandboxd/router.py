"""Method and path to handler.

Patterns are matched on the percent-decoded path with every slash kept. ``{name}`` is one
segment; ``{path}`` at the end is the rest, including its leading slash. Unknown paths and wrong
methods are both a plain-text 404, HEAD of a readable path is always 200 (some say more in
headers), and OPTIONS is always 204: that is how clients know this API.
"""

import functools
import re
from collections.abc import Awaitable, Callable

from serai.sandboxd.http import Answer, Response
from serai.sandboxd.requests import Request

RouteHandler = Callable[[Request], Awaitable[Answer]]


@functools.cache  # shared by all forks
def _compile(pattern: str) -> re.Pattern[str]:
    text = re.escape(pattern).replace(r"\{path\}", r"(?P<path>/.*)")
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", text), re.DOTALL)


def not_found() -> Response:
    """The answer for a path this API does not have; newer clients tell it by its plain text."""
    return Response(b"404 page not found", 404, "text/plain")


class Router:
    """All routes of the API; the first one added that matches wins."""

    def __init__(self) -> None:
        self.check: Callable[[str, str], None] = lambda method, path: None
        """May refuse a call by its method and path."""
        self._exact: dict[tuple[str, str], RouteHandler] = {}
        self._patterns: list[tuple[str, re.Pattern[str], RouteHandler, str]] = []

    def add(self, method: str, pattern: str, handler: RouteHandler) -> None:
        """Register a handler."""
        if "{" in pattern:
            self._patterns.append((method, _compile(pattern), handler, pattern))
        else:
            self._exact[method, pattern] = handler

    def routes(self) -> list[tuple[str, str]]:
        """Method and pattern of each."""
        return [*self._exact, *((method, pattern) for method, _, _, pattern in self._patterns)]

    def _find(self, method: str, path: str) -> tuple[RouteHandler, dict[str, str]] | None:
        exact = self._exact.get((method, path))
        if exact is not None:
            return exact, {}
        for verb, pattern, handler, _ in self._patterns:
            if verb == method and (match := pattern.fullmatch(path)):
                return handler, match.groupdict()
        return None

    async def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        if request.method == "OPTIONS":
            return Response(status=204, content_type=None)
        found = self._find(request.method, request.path)
        if found is None and request.method == "HEAD" and self._find("GET", request.path):
            return Response(content_type=None)
        if found is None:
            return self._redirect(request)
        self.check(request.method, request.path)
        handler, request.params = found
        return await handler(request)

    def _redirect(self, request: Request) -> Response:
        if request.path.endswith("/") and self._find(request.method, request.path[:-1]):
            status = 301 if request.method == "GET" else 307
            return Response(
                status=status,
                content_type=None,
                headers={"Location": request.raw_path.rstrip("/") or "/"},
            )
        return not_found()
