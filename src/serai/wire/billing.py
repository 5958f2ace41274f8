"""The billing API: accounts, and what their usage costs over time.

Amounts that may be zero have no default, so that they are always sent.
"""

from datetime import date
from decimal import Decimal
from typing import Literal

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
        list_cost: USD at the hosted service's list prices; only when asked for.
    """

    timestamp: str
    cost: float
    usage: float | None = None
    list_cost: float | None = None


class MetricsAmount(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """What one group used over the window: as in ``MetricsPoint``."""

    cost: float
    usage: float | None = None
    list_cost: float | None = None


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
    total_list_cost: float | None = None


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


class AccountPrice(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """One price; exactly one of the three ``per_…`` is given, as a decimal.

    Attributes:
        billing_dimension: what it is for.
        per_unit: of one GB-second, token, request or hour.
        per_million: of a million of them.
        per_gb_month: of a GB for 730 hours, for dimensions in GB-seconds.
        provider: only for models of this provider.
        model: only for the model of this name.
        since: first day (UTC) it holds; always, when absent.
    """

    billing_dimension: str
    per_unit: Decimal | None = None
    per_million: Decimal | None = None
    per_gb_month: Decimal | None = None
    provider: str | None = None
    model: str | None = None
    since: date | None = msgspec.field(default=None, name="from")


class AccountPrices(msgspec.Struct, kw_only=True, rename="camel"):
    """The price list of an account.

    Attributes:
        currency: a code of three letters; absent in a body: as it is.
        prices: set for this account; they go before the inherited ones.
        inherited: the operator's file and Serai's own list, which hold for the rest; read only.
    """

    currency: str | None = None
    prices: list[AccountPrice]
    inherited: list[AccountPrice] = []


class BudgetAlert(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """What was told about a crossed threshold.

    Attributes:
        id: of the delivery, also in the header ``webhook-id``; the same in every attempt.
        period: the month, ``YYYY-MM``.
        crossed_at: when it was noticed.
        state: ``pending``, ``delivered`` or ``failed``.
        attempts: how often it was sent.
        delivered_at: when the receiver took it.
        problem: why the last attempt failed.
    """

    id: str
    period: str
    crossed_at: str
    state: str
    attempts: int
    delivered_at: str | None = None
    problem: str | None = None


class BudgetThreshold(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """When to speak up: at a percentage of the budget, or at an amount.

    Attributes:
        percent: of the budget's amount; may be over 100.
        amount: in the account's currency.
        alert: this period's, once it is crossed; read only.
    """

    percent: Decimal | None = None
    amount: Decimal | None = None
    alert: BudgetAlert | None = None


class Budget(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """How much a month or a day may cost, and what happens when it is spent.

    Attributes:
        name: unique in the account; goes into the path.
        amount: per calendar month or day (UTC), in the account's currency.
        action: ``notify`` (unless set), or ``refuse`` calls of models once it is spent.
        per: ``month`` (unless set) or ``day``.
        api_key: only model calls with the API key (or grant) of this id.
        label: only calls of models that have this label, ``NAME=VALUE``, at that moment.
        workspace: only what this workspace uses.
        resource_type: only resources of this type.
        resource_name: only resources of this name.
        billing_dimension: only this dimension.
        thresholds: at least one, unless the budget refuses and has no webhook.
        webhook_url: told about each threshold once a period.
        secret: signs the webhooks; made up when absent; answered once, by the call that sets it.
        currency: of the account; read only.
        period: the current month, ``YYYY-MM``, or day; read only.
        spent: so far in this period; read only.
        percent: ``spent`` of ``amount``, in percent; read only.
        unpriced: models whose tokens were used in this period and have no price, so cost nothing
            here; read only.
        created_at: read only.
        updated_at: read only.
    """

    name: str | None = None
    amount: Decimal
    workspace: str | None = None
    resource_type: str | None = None
    resource_name: str | None = None
    billing_dimension: str | None = None
    action: Literal["notify", "refuse"] | None = None
    per: Literal["month", "day"] | None = None
    api_key: str | None = None
    label: str | None = None
    thresholds: list[BudgetThreshold] = []
    webhook_url: str | None = None
    secret: str | None = None
    currency: str | None = None
    period: str | None = None
    spent: Decimal | None = None
    percent: Decimal | None = None
    unpriced: list[str] | None = None
    created_at: str | None = None
    updated_at: str | None = None


class StatementLine(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """Usage of one workspace in one dimension at one price.

    Attributes:
        kind: ``usage`` of the statement's month, or ``adjustment`` of an earlier one by what
            became known after that was closed.
        period: the month that was used in.
        since: first day of ``period`` that the price holds for.
        workspace: whose usage.
        resource_type: of the resources.
        billing_dimension: what was used.
        provider: of a model.
        model: its name.
        usage: in units of the dimension.
        unit: ``gbs``, ``count`` or ``hours``.
        price: as in the price list, for what ``per`` says.
        per: ``unit``, ``million`` or ``gb_month``.
        cost: usage times price, rounded once.
    """

    kind: str
    period: str
    since: str = msgspec.field(name="from")
    workspace: str
    resource_type: str
    billing_dimension: str
    provider: str | None = None
    model: str | None = None
    usage: Decimal
    unit: str
    price: Decimal
    per: str
    cost: Decimal


class Statement(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """What a month has cost, once and for all.

    Attributes:
        month: ``YYYY-MM``.
        currency: of all amounts.
        total: the sum of the lines' costs.
        closed_at: RFC 3339 in UTC.
        closed_by: who closed it: the id of a user, or ``serai`` by itself.
        lines: of one statement; absent in lists.
    """

    month: str
    currency: str
    total: Decimal
    closed_at: str
    closed_by: str
    lines: list[StatementLine] | None = None
