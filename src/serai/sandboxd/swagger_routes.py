"""``/swagger``: this API described, for programs and as a page on which to try it."""

import base64
import hashlib
import re
from pathlib import Path

from serai.sandboxd.description import document
from serai.sandboxd.http import Answer, Response
from serai.sandboxd.requests import Request
from serai.sandboxd.router import Router

PAGE = Path(__file__).with_name("swagger.html").read_bytes()


def policy_of(page: bytes) -> str:
    """A content security policy that allows a page's own script and style, nothing else."""
    rules = ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'"]
    for tag in ("script", "style"):
        match = re.search(rf"<{tag}>(.*?)</{tag}>".encode(), page, re.DOTALL)
        assert match is not None
        digest = base64.b64encode(hashlib.sha256(match.group(1)).digest()).decode()
        rules.append(f"{tag}-src 'sha256-{digest}'")
    return "; ".join(rules)


class SwaggerRoutes:
    """Handlers of ``/swagger``."""

    def __init__(self) -> None:
        self._document = document()
        self._headers = {
            "Content-Security-Policy": policy_of(PAGE),
            "Referrer-Policy": "no-referrer",
        }

    def add_to(self, router: Router) -> None:
        """Register all routes."""
        router.add("GET", "/swagger", self.enter)
        router.add("GET", "/swagger/", self.enter)
        router.add("GET", "/swagger/index.html", self.page)
        router.add("GET", "/swagger/doc.json", self.described)

    async def enter(self, request: Request) -> Answer:
        """To the page, wherever this API is below the address that the client knows."""
        below = "" if request.path.endswith("/") else "swagger/"
        where = {"Location": f"{below}index.html"}
        return Response(status=301, content_type=None, headers=where)

    async def page(self, request: Request) -> Answer:
        """The page, which needs nothing from elsewhere."""
        return Response(PAGE, content_type="text/html; charset=utf-8", headers=self._headers)

    async def described(self, request: Request) -> Answer:
        """The OpenAPI document."""
        return Response(self._document)
