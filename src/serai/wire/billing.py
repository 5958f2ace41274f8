"""The billing API: accounts, and what their usage costs over time.

Amounts that may be zero have no default, so that they are always sent.
"""

import msgspec


class Account(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """Who pays for a set of workspaces.

    Attributes:
        id: goes into the paths below ``/v0/accounts``.
        name: for people.
        currency: of the account, for example ``USD``.
        created_at: RFC 3339 in UTC.
    """

    id: str
    name: str
    currency: str
    created_at: str


class MetricsPoint(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """One bucket of time.

    Attributes:
        timestamp: where the bucket begins, RFC 3339 in UTC. The first may begin before the
            window; only usage inside the window is in it.
        cost: price of the usage in the bucket.
        usage: in the unit of the billing dimension; only when grouped by it.
    """

    timestamp: str
    cost: float
    usage: float | None = None


class MetricsAmount(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """What one group used over the window: as in ``MetricsPoint``."""

    cost: float
    usage: float | None = None


class MetricsEntry(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """One group; the fields it was grouped by are set, and others that follow from them."""

    workspace: str | None = None
    resource_type: str | None = None
    resource_name: str | None = None
    resource_uuid: str | None = None
    billing_dimension: str | None = None
    summary: MetricsAmount
    timeseries: list[MetricsPoint]


class MetricsSummary(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """The whole window, over the groups of every page."""

    total_cost: float
    total_usage: float | None = None


class MetricsPage(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """Where this answer stands: ``next_cursor`` is empty on the last page."""

    has_more: bool
    next_cursor: str


class AccountMetrics(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """The answer of ``GET /v0/accounts/{accountId}/metrics``.

    Attributes:
        start_time: the window's first moment, RFC 3339 in UTC.
        end_time: the first moment after the window.
        resolution: ``hourly``, ``daily``, ``weekly`` or ``monthly``, asked for or picked.
        currency: of every cost; sent when it is not ``USD``.
        summary: over all groups, also those on other pages.
        data: the groups of this page, in order of their keys.
        meta: paging.
    """

    start_time: str
    end_time: str
    resolution: str
    currency: str = "USD"
    summary: MetricsSummary
    data: list[MetricsEntry]
    meta: MetricsPage


class MetricsValues(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """The values that a parameter of the metrics can take."""

    values: list[str]
