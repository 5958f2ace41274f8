"""Time that somebody pays for: told with what starts, changes or ends it, metered elsewhere.

A span is one resource in one billing dimension. Its rate says how much is used per millisecond,
in the dimension's smallest unit: MB for GB-seconds, 1 for hours. A rate of 0 ends it.
"""

from datetime import datetime

import msgspec
from sqlalchemy import Connection

from serai.kernel.clock import millis, now
from serai.resources.documents import Document
from serai.resources.kind import Usage
from serai.resources.tenants import need_tenant
from serai.store import outbox

TOPIC = "usage.span"


class Metered(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that uses something, and who pays.

    Attributes:
        id: the resource's internal id.
        account_id: account that pays.
        workspace: workspace name.
        type: as the bill calls it, for example ``sandbox``.
        name: the resource's name.
    """

    id: str
    account_id: str
    workspace: str
    type: str
    name: str


class SpanChange(msgspec.Struct, frozen=True, kw_only=True):
    """From ``at`` (milliseconds since 1970 UTC) on, a resource uses ``rate`` per millisecond.

    ``resource`` is left out where a span ends.
    """

    resource_id: str
    dimension: str
    rate: int
    at: int
    resource: Metered | None = None


def open_span(conn: Connection, resource: Metered, dimension: str, rate: int, at: datetime) -> None:
    """From ``at`` on, the resource uses this much; also for another rate of an open span."""
    change = SpanChange(
        resource_id=resource.id, dimension=dimension, rate=rate, at=millis(at), resource=resource
    )
    outbox.append(conn, TOPIC, change)


def close_span(conn: Connection, resource_id: str, dimension: str, at: datetime) -> None:
    """The resource used something until ``at``; nothing when no span is open."""
    change = SpanChange(resource_id=resource_id, dimension=dimension, rate=0, at=millis(at))
    outbox.append(conn, TOPIC, change)


def meter(conn: Connection, usage: Usage, document: Document, rate: int) -> None:
    """A document uses this much from now on."""
    if rate == 0:
        close_span(conn, document.id, usage.dimension, now())
        return
    resource = Metered(
        id=document.id,
        account_id=need_tenant(conn, document.workspace).account_id,
        workspace=document.workspace,
        type=usage.type,
        name=document.name,
    )
    open_span(conn, resource, usage.dimension, rate, now())
