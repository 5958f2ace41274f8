"""One measured piece of usage."""

import msgspec


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """What usage is added up for: a resource in one dimension, and who pays.

    Attributes:
        account_id: account that pays.
        workspace: workspace name.
        resource_type: for example ``sandbox`` or ``model``.
        resource_name: the resource's name.
        resource_id: the resource's internal id; differs when a name is used again.
        dimension: a name of ``DIMENSIONS``.
        provider: the model's provider, which may have a price of its own; else empty.
        model: the model's name, which may have a price of its own; else empty.
    """

    account_id: str
    workspace: str
    resource_type: str
    resource_name: str
    resource_id: str
    dimension: str
    provider: str = ""
    model: str = ""


class UsageEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A quantity used between ``start`` and ``end``, inside one hour.

    Recording the same id again adds nothing, unless the quantity has grown: then the difference
    is added. So a running interval may be recorded again and again while it gets longer.

    Attributes:
        id: ``{resource id}/{dimension}/{start}``, and a suffix where several may start together.
        series: what it is added to.
        start: milliseconds since 1970 UTC.
        end: the same; equal to ``start`` when the usage happened at one instant.
        quantity: integer in the dimension's smallest unit.
    """

    id: str
    series: Series
    start: int
    end: int
    quantity: int
