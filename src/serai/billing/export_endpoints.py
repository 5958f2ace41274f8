"""Files of usage over HTTP: CSV and FOCUS, streamed."""

from typing import Any, Literal

import msgspec
from litestar import Response, get
from litestar.response import Stream
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest
from serai.billing import focus
from serai.billing.accounts import accounts, need_admin, scope_of
from serai.billing.context import BillingContext
from serai.billing.exports import Export, Rows, csv_header, csv_rows
from serai.billing.operations import Params, check_rights
from serai.identity.caller import caller_of
from serai.identity.principal import Principal
from serai.kernel.clock import now
from serai.kernel.errors import BadRequest
from serai.metering.query import PAGING, PARAMETERS, MetricsQuery, parse_query
from serai.metering.windows import DAILY, RESOLUTIONS, WEEKLY
from serai.wire.billing import Account

ONE = "/v0/accounts/{account_id:str}"
WINDOW = {"startTime": str, "endTime": str}
RESOLUTION: Any = Literal[RESOLUTIONS]
QUERY = {name: str for name in PARAMETERS if name not in PAGING} | {
    "resolution": RESOLUTION,
    "listPrice": bool,
}
FORMATS = ("csv", "focus")
FORMAT: Any = Literal[FORMATS]


def export_operations(context: BillingContext) -> list[ControllerRouterHandler]:
    """The whole of a query as a file."""

    @get(
        f"{ONE}/metrics/export",
        operation_id="ExportAccountMetrics",
        opt={"answer": str, "media": "text/csv", "query": QUERY | {"format": FORMAT}},
    )
    async def export_metrics(request: AnyRequest, account_id: str) -> Response[Any]:
        params = params_of(request)
        return await export(context, caller_of(request).principal, account_id, params)

    return [export_metrics]


async def export(
    context: BillingContext, caller: Principal, account_id: str, params: Params
) -> Stream:
    """The file that these parameters ask for.

    Raises:
        NotFound: another account.
        Forbidden: it tells workspaces apart and the caller is no account admin.
        BadRequest: a parameter is wrong.
    """
    scope, moment = scope_of(caller, account_id), now()
    query = _query(params, caller, account_id)
    prices = await context.prices_of(account_id)
    header = csv_header(query)
    rows: Rows = csv_rows
    if _format(params) == "focus":
        account = await context.db.read(lambda conn: _account(conn, account_id))
        header, rows = focus.COLUMNS, focus.focus_rows(account)
    file = Export(
        usage=context.usage,
        scope=scope,
        query=query,
        prices=prices,
        now=moment,
        header=header,
        rows=rows,
    )
    name = f"usage-{account_id}-{_format(params)}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Stream(file.text(), media_type="text/csv", headers=headers)


def params_of(request: AnyRequest) -> Params:
    """Every query parameter with all its values."""
    return {key: list(values) for key, values in request.query_params.dict().items()}


def _format(params: Params) -> str:
    given = params.get("format", ["csv"])
    if len(given) != 1 or given[0] not in FORMATS:
        raise BadRequest(f"format must be one of {', '.join(FORMATS)}, given once.")
    return given[0]


def _query(params: Params, caller: Principal, account_id: str) -> MetricsQuery:
    for name in PAGING:
        if name in params:
            raise BadRequest(f"{name} is for pages and a file has all of them; remove it.")
    query = parse_query(params, now(), capped=False)
    check_rights(query, caller)
    if _format(params) != "focus":
        return query
    need_admin(caller, account_id, "a FOCUS file, which tells workspaces apart, is")
    if query.group_by:
        raise BadRequest("groupBy cannot be chosen with format=focus; remove it.")
    resolution = query.resolution if "resolution" in params else DAILY
    if resolution == WEEKLY:
        raise BadRequest(
            "resolution=weekly does not go with format=focus: a week may lie in two billing "
            "periods. Choose hourly, daily or monthly."
        )
    return msgspec.structs.replace(query, group_by=focus.GROUP_BY, resolution=resolution)


def _account(conn: Connection, account_id: str) -> Account:
    return accounts(conn, [account_id])[0]
