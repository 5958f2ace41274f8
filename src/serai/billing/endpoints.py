"""The Billing API over HTTP: accounts and their metrics."""

from collections.abc import Callable
from typing import Any

import msgspec
from litestar import Response, get
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, json_response
from serai.billing import operations
from serai.billing.accounts import scope_of
from serai.billing.answers import wants_csv
from serai.billing.context import BillingContext
from serai.billing.export_endpoints import ONE, QUERY, WINDOW, export, params_of
from serai.identity.caller import caller_of
from serai.kernel.clock import now
from serai.wire.billing import Account, AccountMetrics, MetricsValues

PAGED = QUERY | {"limit": int, "cursor": str}


def metrics_operations(context: BillingContext) -> list[ControllerRouterHandler]:
    """Accounts and their metrics. Heavy reads run in a thread, not on the event loop."""

    async def answer(read: Callable[[Connection], Any]) -> Response[bytes]:
        return json_response(msgspec.json.encode(await context.usage.read_in_thread(read)))

    @get("/v0/accounts", operation_id="ListAccounts", opt={"answer": list[Account]})
    async def list_accounts(request: AnyRequest) -> Response[bytes]:
        caller = caller_of(request).principal
        found = await context.db.read(lambda conn: operations.list_accounts(conn, caller))
        return json_response(msgspec.json.encode(found))

    @get(
        f"{ONE}/metrics",
        operation_id="GetAccountMetrics",
        opt={"answer": AccountMetrics, "query": PAGED},
    )
    async def get_metrics(request: AnyRequest, account_id: str) -> Response[Any]:
        caller, params = caller_of(request).principal, params_of(request)
        if wants_csv(request):
            return await export(context, caller, account_id, params)
        scope_of(caller, account_id)
        prices = await context.prices_of(account_id)
        return await answer(
            lambda conn: operations.get_account_metrics(
                conn, caller, account_id, params, prices, now()
            )
        )

    @get(
        f"{ONE}/metrics/enums/group-by",
        operation_id="ListAccountMetricsGroupings",
        opt={"answer": MetricsValues},
    )
    async def get_groupings(request: AnyRequest, account_id: str) -> Response[bytes]:
        values = operations.list_groupings(caller_of(request).principal, account_id)
        return json_response(msgspec.json.encode(values))

    @get(
        f"{ONE}/metrics/enums/resource-types",
        operation_id="ListAccountMetricsResourceTypes",
        opt={"answer": MetricsValues, "query": WINDOW},
    )
    async def get_resource_types(request: AnyRequest, account_id: str) -> Response[bytes]:
        caller, params = caller_of(request).principal, params_of(request)
        return await answer(
            lambda conn: operations.list_resource_types(conn, caller, account_id, params, now())
        )

    return [list_accounts, get_metrics, get_groupings, get_resource_types]
