"""Where previews can be found: below our own address, and in custom domains."""

from sqlalchemy import Connection

from serai.compute.ports import CustomDomains
from serai.compute.preview_kind import PREVIEWS, decode, host_of
from serai.kernel.addresses import PreviewAddresses
from serai.kernel.errors import Conflict
from serai.resources import documents
from serai.resources.kind import Body
from serai.store.reach import unbounded


class PreviewPlaces:
    """Checks the places that previews want, and names them."""

    def __init__(self, addresses: PreviewAddresses, domains: CustomDomains) -> None:
        self._addresses = addresses
        self._domains = domains

    def url(self, slug: str | None, body: Body) -> str:
        """The address to hand out."""
        return self._addresses.url(slug or "", host_of(body))

    def check(self, conn: Connection, workspace: str, sandbox: str, body: Body) -> None:
        """See that a preview may have the name in a custom domain that it wants.

        Raises:
            BadRequest: the domain cannot be used by this workspace.
            Conflict: another preview, of whichever workspace, has this name.
        """
        host = host_of(body)
        if host is None:
            return
        domain = body["spec"]["customDomain"]
        self._domains.need_served(conn, workspace, domain)
        own = (workspace, sandbox, body["metadata"]["name"])
        with unbounded("a name in a shared domain is unique, whoever has it; that is all it tells"):
            for document in documents.every(conn, PREVIEWS.name):
                place = (document.workspace, document.parent, document.name)
                if place != own and host_of(decode(document.body)) == host:
                    raise Conflict(
                        f"{host} is the address of another preview: choose another spec.prefixUrl.",
                        code="PREVIEW_HOST_TAKEN",
                    )
