"""The routes of the console."""

from litestar import Response, get
from litestar.types import ControllerRouterHandler

from serai.api.exchange import AnyRequest
from serai.console.bundle import Bundle
from serai.console.pages import ConsolePages
from serai.kernel.addresses import PreviewAddresses
from serai.oauth.context import OAuth
from serai.signin.site import Site

HIDDEN = {"hidden": True}


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

    return [home, asset, console, console_place]
