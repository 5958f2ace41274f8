"""The price list of an account over HTTP; an extension of ours."""

from litestar import Response, delete, get, put
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.api.exchange import AnyRequest, decode_body
from serai.billing.accounts import need_admin, scope_of
from serai.billing.answers import money_answer
from serai.billing.context import BillingContext
from serai.billing.price_records import account_prices, drop_prices, own_prices, replace_prices
from serai.identity.caller import caller_of
from serai.kernel.clock import now
from serai.kernel.errors import BadRequest
from serai.metering.prices import ALWAYS, InvalidPrices, Price, PriceList, check
from serai.wire.billing import AccountPrice, AccountPrices

PATH = "/v0/accounts/{account_id:str}/prices"
MAX_PRICES = 1000


def price_operations(context: BillingContext) -> list[ControllerRouterHandler]:
    """Read, replace and drop the prices of an account."""

    async def shown(account_id: str) -> Response[bytes]:
        answer = await context.db.read(lambda conn: _shown(conn, account_id, context.prices))
        return money_answer(answer)

    @get(PATH, operation_id="GetAccountPrices", opt={"answer": AccountPrices})
    async def get_prices(request: AnyRequest, account_id: str) -> Response[bytes]:
        scope_of(caller_of(request).principal, account_id)
        return await shown(account_id)

    @put(
        PATH,
        operation_id="UpdateAccountPrices",
        opt={"answer": AccountPrices, "body": AccountPrices},
    )
    async def set_prices(request: AnyRequest, account_id: str) -> Response[bytes]:
        caller = caller_of(request).principal
        need_admin(caller, account_id, "setting prices is")
        wanted = await decode_body(request, AccountPrices)
        prices = _checked(wanted)

        def write(conn: Connection) -> None:
            currency = wanted.currency or account_prices(conn, account_id, context.prices).currency
            replace_prices(conn, account_id, prices, currency.upper(), caller.subject, now())

        await context.db.write(write)
        context.changed()
        return await shown(account_id)

    @delete(
        PATH,
        status_code=200,
        operation_id="DeleteAccountPrices",
        opt={"answer": AccountPrices},
    )
    async def forget_prices(request: AnyRequest, account_id: str) -> Response[bytes]:
        need_admin(caller_of(request).principal, account_id, "setting prices is")
        await context.db.write(lambda conn: drop_prices(conn, account_id))
        context.changed()
        return await shown(account_id)

    return [get_prices, set_prices, forget_prices]


def _shown(conn: Connection, account_id: str, below: PriceList) -> AccountPrices:
    return AccountPrices(
        currency=account_prices(conn, account_id, below).currency,
        prices=[_entry(price) for price in own_prices(conn, account_id)],
        inherited=[_entry(price) for level in below.levels for price in level],
    )


def _entry(price: Price) -> AccountPrice:
    return AccountPrice(
        billing_dimension=price.dimension,
        per_unit=price.per_unit,
        per_million=price.per_million,
        per_gb_month=price.per_gb_month,
        provider=price.provider,
        model=price.model,
        since=None if price.since == ALWAYS else price.since,
    )


def _checked(wanted: AccountPrices) -> list[Price]:
    if len(wanted.prices) > MAX_PRICES:
        raise BadRequest(f"prices has {len(wanted.prices)} entries; give at most {MAX_PRICES}.")
    prices = [
        Price(
            dimension=entry.billing_dimension,
            per_unit=entry.per_unit,
            per_million=entry.per_million,
            per_gb_month=entry.per_gb_month,
            provider=entry.provider,
            model=entry.model,
            since=entry.since or ALWAYS,
        )
        for entry in wanted.prices
    ]
    try:
        check(prices, wanted.currency or "USD")
    except InvalidPrices as problem:
        raise BadRequest(_in_wire_words(problem.message), code=problem.code) from None
    return prices


def _in_wire_words(message: str) -> str:
    for file, wire in (
        ("per_unit", "perUnit"),
        ("per_million", "perMillion"),
        ("per_gb_month", "perGbMonth"),
        ("dimension must", "billingDimension must"),
    ):
        message = message.replace(file, wire)
    return message
