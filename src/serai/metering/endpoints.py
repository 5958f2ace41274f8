"""The Billing API over HTTP: thin handlers around ``operations``."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from litestar import Response, get
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, json_response
from serai.identity.caller import Caller
from serai.identity.principal import Principal
from serai.kernel.clock import now
from serai.metering import operations
from serai.metering.delivery import SpanDelivery
from serai.metering.operations import Params
from serai.metering.prices import PriceList
from serai.metering.query import PARAMETERS
from serai.metering.store import UsageStore
from serai.metering.windows import RESOLUTIONS
from serai.store.database import Database
from serai.wire.billing import Account, AccountMetrics, MetricsValues

WINDOW = {"startTime": str, "endTime": str}
RESOLUTION: Any = Literal[RESOLUTIONS]
QUERY = dict.fromkeys(PARAMETERS, str) | {"limit": int, "resolution": RESOLUTION}


def billing_operations(
    db: Database, usage: UsageStore, delivery: SpanDelivery, prices: PriceList
) -> list[ControllerRouterHandler]:
    """Accounts and their metrics. Heavy reads run in a thread, not on the event loop."""

    async def answer(read: Callable[[Connection], Any]) -> Response[bytes]:
        await delivery.drain()
        return json_response(msgspec.json.encode(await usage.read_in_thread(read)))

    @get("/v0/accounts", operation_id="ListAccounts", opt={"answer": list[Account]})
    async def list_accounts(request: AnyRequest) -> Response[bytes]:
        caller = _principal(request)
        found = await db.read(lambda conn: operations.list_accounts(conn, caller))
        return json_response(msgspec.json.encode(found))

    @get(
        "/v0/accounts/{account_id:str}/metrics",
        operation_id="GetAccountMetrics",
        opt={"answer": AccountMetrics, "query": QUERY},
    )
    async def get_metrics(request: AnyRequest, account_id: str) -> Response[bytes]:
        caller, params = _principal(request), _params(request)
        return await answer(
            lambda conn: operations.get_account_metrics(
                conn, caller, account_id, params, prices, now()
            )
        )

    @get(
        "/v0/accounts/{account_id:str}/metrics/enums/group-by",
        operation_id="ListAccountMetricsGroupings",
        opt={"answer": MetricsValues},
    )
    async def get_groupings(request: AnyRequest, account_id: str) -> Response[bytes]:
        values = operations.list_groupings(_principal(request), account_id)
        return json_response(msgspec.json.encode(values))

    @get(
        "/v0/accounts/{account_id:str}/metrics/enums/resource-types",
        operation_id="ListAccountMetricsResourceTypes",
        opt={"answer": MetricsValues, "query": WINDOW},
    )
    async def get_resource_types(request: AnyRequest, account_id: str) -> Response[bytes]:
        caller, params = _principal(request), _params(request)
        return await answer(
            lambda conn: operations.list_resource_types(conn, caller, account_id, params, now())
        )

    return [list_accounts, get_metrics, get_groupings, get_resource_types]


def _principal(request: AnyRequest) -> Principal:
    caller: Caller = request.state["caller"]
    return caller.principal


def _params(request: AnyRequest) -> Params:
    return {key: list(values) for key, values in request.query_params.dict().items()}
