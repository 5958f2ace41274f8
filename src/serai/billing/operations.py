"""The metrics operations, for whatever serves them over HTTP: who may ask what, then the answer.

Each is a function of a read transaction and raises what the client is to see.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection

from serai.billing.accounts import accounts, scope_of
from serai.identity.principal import Principal
from serai.kernel.errors import Forbidden
from serai.metering.answer import account_metrics, resource_types
from serai.metering.prices import PriceList
from serai.metering.query import GROUPINGS, MetricsQuery, parse_query, parse_window
from serai.wire.billing import Account, AccountMetrics, MetricsValues

Params = Mapping[str, list[str]]


def list_accounts(conn: Connection, caller: Principal) -> list[Account]:
    """``GET /v0/accounts``: the caller's account."""
    return accounts(conn, [caller.account_id])


def get_account_metrics(
    conn: Connection,
    caller: Principal,
    account_id: str,
    params: Params,
    prices: PriceList,
    now: datetime,
) -> AccountMetrics:
    """``GET /v0/accounts/{accountId}/metrics``.

    Raises:
        NotFound: another account.
        Forbidden: workspaces told apart by somebody who is no account admin.
        BadRequest: a parameter is wrong.
    """
    scope = scope_of(caller, account_id)
    query = parse_query(params, now)
    check_rights(query, caller)
    return account_metrics(conn, scope, query, prices, now)


def check_rights(query: MetricsQuery, caller: Principal) -> None:
    """Only account admins tell workspaces apart.

    Raises:
        Forbidden: the query does and the caller is none.
    """
    if query.by_workspace and not caller.account_admin:
        raise Forbidden(
            "Access denied: workspace= and groupBy=workspace are for admins of the account; "
            "leave them out or use the key of an account admin."
        )


def list_groupings(caller: Principal, account_id: str) -> MetricsValues:
    """``GET /v0/accounts/{accountId}/metrics/enums/group-by``: what ``groupBy`` can be.

    Raises:
        NotFound: another account.
    """
    scope_of(caller, account_id)
    return MetricsValues(values=list(GROUPINGS))


def list_resource_types(
    conn: Connection, caller: Principal, account_id: str, params: Params, now: datetime
) -> MetricsValues:
    """``GET /v0/accounts/{accountId}/metrics/enums/resource-types``: types used in a window.

    Raises:
        NotFound: another account.
        BadRequest: ``startTime`` or ``endTime`` is wrong.
    """
    scope = scope_of(caller, account_id)
    return MetricsValues(values=resource_types(conn, scope, parse_window(params, now), now))
