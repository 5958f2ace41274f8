"""Monthly statements over HTTP, for account admins; an extension of ours."""

import re

from litestar import Response, get, post
from litestar.types import ControllerRouterHandler

from serai.api.exchange import AnyRequest
from serai.billing.accounts import need_admin
from serai.billing.answers import money_answer, wants_csv
from serai.billing.closing import Closing
from serai.billing.context import BillingContext
from serai.billing.exports import lines
from serai.billing.statement_records import find_statements, need_statement
from serai.identity.caller import caller_of
from serai.kernel.errors import BadRequest
from serai.metering.money import plain
from serai.wire.billing import Statement

PATH = "/v0/accounts/{account_id:str}/statements"
ONE = PATH + "/{month:str}"
ADMIN = "statements are"
MONTH = re.compile(r"(19[7-9]|2\d\d)\d-(0[1-9]|1[0-2])", re.ASCII)
COLUMNS = (
    "kind",
    "period",
    "from",
    "workspace",
    "resourceType",
    "billingDimension",
    "provider",
    "model",
    "usage",
    "unit",
    "price",
    "per",
    "cost",
    "currency",
)


def statement_operations(
    context: BillingContext, closing: Closing
) -> list[ControllerRouterHandler]:
    """List, get and close."""

    async def one(account_id: str, month: str) -> Statement:
        return await context.db.read(lambda conn: need_statement(conn, account_id, month))

    @get(PATH, operation_id="ListStatements", opt={"answer": list[Statement]})
    async def list_statements(request: AnyRequest, account_id: str) -> Response[bytes]:
        need_admin(caller_of(request).principal, account_id, ADMIN)
        found = await context.db.read(lambda conn: find_statements(conn, account_id))
        return money_answer(found)

    @get(ONE, operation_id="GetStatement", opt={"answer": Statement})
    async def get_statement(request: AnyRequest, account_id: str, month: str) -> Response[bytes]:
        need_admin(caller_of(request).principal, account_id, ADMIN)
        found = await one(account_id, _month(month))
        if wants_csv(request):
            return _file(found, f"statement-{account_id}-{month}.csv")
        return money_answer(found)

    @post(
        f"{ONE}/close",
        status_code=200,
        operation_id="CloseStatement",
        opt={"answer": Statement},
    )
    async def close_statement(request: AnyRequest, account_id: str, month: str) -> Response[bytes]:
        caller = caller_of(request).principal
        need_admin(caller, account_id, ADMIN)
        await closing.close(account_id, _month(month), caller.subject)
        return money_answer(await one(account_id, month))

    return [list_statements, get_statement, close_statement]


def _month(text: str) -> str:
    if not MONTH.fullmatch(text):
        raise BadRequest(f"The month {text[:20]!r} is not one; write it as YYYY-MM.")
    return text


def _file(statement: Statement, name: str) -> Response[bytes]:
    rows = [
        (
            one.kind,
            one.period,
            one.since,
            one.workspace,
            one.resource_type,
            one.billing_dimension,
            one.provider or "",
            one.model or "",
            plain(one.usage),
            one.unit,
            plain(one.price),
            one.per,
            plain(one.cost),
            statement.currency,
        )
        for one in statement.lines or []
    ]
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    body = lines([COLUMNS, *rows]).encode()
    return Response(body, media_type="text/csv", headers=headers)
