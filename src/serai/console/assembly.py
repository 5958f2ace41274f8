"""The routes of the console."""

from urllib.parse import quote

from litestar import Response, get
from litestar.types import ControllerRouterHandler

from serai.api.exchange import AnyRequest
from serai.console.bundle import Bundle
from serai.console.pages import ConsolePages
from serai.kernel.addresses import PreviewAddresses
from serai.oauth.context import OAuth
from serai.signin.site import Site

HIDDEN = {"hidden": True}
PLACES = {
    "agent": "agents",
    "application": "applications",
    "function": "functions",
    "job": "jobs",
    "model": "models",
}
"""What the page calls a kind; sandboxes for all else."""


def console_operations(
    site: Site, oauth: OAuth, previews: PreviewAddresses
) -> list[ControllerRouterHandler]:
    """The page under all its addresses, its files, and the way there from ``/``."""
    frames = (previews.at(f"*.{previews.domain}"),) if previews.domain else ()
    pages = ConsolePages(oauth, Bundle(), frames)
    show = site.page(pages.page)

    @get("/", opt=HIDDEN)
    async def home(request: AnyRequest) -> Response[bytes]:
        return Response(b"", status_code=303, headers={"Location": "/console"})

    @get("/console/assets/{name:str}", opt=HIDDEN)
    async def asset(request: AnyRequest, name: str) -> Response[bytes]:
        return await pages.asset(request, name)

    @get("/console", opt=HIDDEN, media_type="text/html")
    async def console(request: AnyRequest) -> Response[bytes]:
        return await show(request)

    @get("/console/{place:path}", opt=HIDDEN, media_type="text/html")
    async def console_place(request: AnyRequest, place: str) -> Response[bytes]:
        return await show(request)

    @get("/{workspace:str}/global-agentic-network/{kind:str}/{name:str}", opt=HIDDEN)
    async def named_by_clients(
        request: AnyRequest, workspace: str, kind: str, name: str
    ) -> Response[bytes]:
        """Where the official command line says that the console shows a deployment."""
        place = f"/console/w/{quote(workspace)}/{PLACES.get(kind, 'sandboxes')}/{quote(name)}"
        return Response(b"", status_code=303, headers={"Location": place})

    return [home, asset, console, console_place, named_by_clients]
