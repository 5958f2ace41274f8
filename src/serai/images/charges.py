"""What built images cost: by the bytes that they take, as long as they are kept."""

from typing import Any, Protocol

from sqlalchemy import Connection

from serai.kernel.clock import now
from serai.resources.spans import Metered, close_span, open_span
from serai.resources.tenants import find_tenant

_MEGABYTE = 1 << 20
_TYPES = {"agent": "agent", "function": "mcp_server", "job": "job", "sandbox": "sandbox"}
"""Of the bill, by resource type. The contract has no dimension for images of applications."""


class Charged(Protocol):
    """An image of a workspace."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def workspace(self) -> str:
        """Whose it is."""

    @property
    def resource_type(self) -> Any:
        """What it is an image for."""

    @property
    def name(self) -> str:
        """Its name."""


def charge(conn: Connection, image: Charged, size: int) -> None:
    """From now on an image takes so many bytes; 0 ends it."""
    kind = _TYPES.get(image.resource_type)
    if kind is None:
        return
    dimension, key = f"{kind}_image_storage_gbs", f"image-{image.id}"
    tenant = find_tenant(conn, image.workspace)
    if size == 0 or tenant is None:
        close_span(conn, key, dimension, now())
        return
    resource = Metered(
        id=key,
        account_id=tenant.account_id,
        workspace=image.workspace,
        type=kind,
        name=image.name,
    )
    open_span(conn, resource, dimension, -(-size // _MEGABYTE), now())
