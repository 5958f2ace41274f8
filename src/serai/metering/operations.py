"""The billing operations, for whatever serves them over HTTP: who may ask what, then the answer.

Each is a function of a read transaction and raises what the client is to see.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection

from serai.identity.principal import Principal
from serai.kernel.errors import Forbidden
from serai.metering.answer import account_metrics, accounts, resource_types
from serai.metering.prices import PriceList
from serai.metering.query import GROUPINGS, parse_query, parse_window
from serai.metering.usage import Scope
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
        Forbidden: another account, or workspaces told apart by somebody who is no account admin.
        BadRequest: a parameter is wrong.
    """
    scope = _scope(caller, account_id)
    query = parse_query(params, now)
    if query.by_workspace and not caller.account_admin:
        raise Forbidden(
            "Access denied: workspace= and groupBy=workspace are for admins of the account; "
            "leave them out or use the key of an account admin."
        )
    return account_metrics(conn, scope, query, prices, now)


def list_groupings(caller: Principal, account_id: str) -> MetricsValues:
    """``GET /v0/accounts/{accountId}/metrics/enums/group-by``: what ``groupBy`` can be.

    Raises:
        Forbidden: another account.
    """
    _scope(caller, account_id)
    return MetricsValues(values=list(GROUPINGS))


def list_resource_types(
    conn: Connection, caller: Principal, account_id: str, params: Params, now: datetime
) -> MetricsValues:
    """``GET /v0/accounts/{accountId}/metrics/enums/resource-types``: types used in a window.

    Raises:
        Forbidden: another account.
        BadRequest: ``startTime`` or ``endTime`` is wrong.
    """
    scope = _scope(caller, account_id)
    return MetricsValues(values=resource_types(conn, scope, parse_window(params, now), now))


def _scope(caller: Principal, account_id: str) -> Scope:
    """Admins see the whole account, others what their own workspaces used."""
    if account_id != caller.account_id:
        raise Forbidden(
            "Access denied: this key belongs to another account; GET /v0/accounts tells its id."
        )
    workspaces = None if caller.account_admin else frozenset(caller.workspaces)
    return Scope(account_id=account_id, workspaces=workspaces)
