"""Budgets of an account over HTTP, for its admins; an extension of ours."""

from datetime import datetime
from decimal import Decimal
from typing import Any, cast

import msgspec
from litestar import Response, delete, get, post, put
from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection, Row

from serai.api.exchange import AnyRequest, decode_body
from serai.billing import budget_records as records
from serai.billing.accounts import need_admin
from serai.billing.answers import money_answer
from serai.billing.budgets import (
    NOTIFY,
    PERCENT_PLACES,
    Budget,
    Threshold,
    check,
    cost_of,
    filters_of,
    thresholds_of,
    unpriced,
    used,
)
from serai.billing.context import BillingContext
from serai.billing.webhooks import new_secret
from serai.identity import api_keys
from serai.identity.caller import caller_of
from serai.identity.principal import Principal
from serai.kernel.clock import now, rfc3339
from serai.kernel.errors import BadRequest
from serai.kernel.ids import new_uuid
from serai.metering.callers import Used
from serai.metering.money import EXACT, published
from serai.metering.prices import PriceList
from serai.metering.usage import Amount
from serai.wire import billing as wire

PATH = "/v0/accounts/{account_id:str}/budgets"
ONE = PATH + "/{budget_name:str}"
ADMIN = "budgets are"


def budget_operations(context: BillingContext) -> list[ControllerRouterHandler]:
    """List, create, get, update and delete."""
    return [*_reads(context), *_writes(context)]


def _reads(context: BillingContext) -> list[ControllerRouterHandler]:
    @get(PATH, operation_id="ListBudgets", opt={"answer": list[wire.Budget]})
    async def list_budgets(request: AnyRequest, account_id: str) -> Response[bytes]:
        need_admin(caller_of(request).principal, account_id, ADMIN)
        found = await context.db.read(lambda conn: records.find_budgets(conn, account_id))
        return money_answer(await shown(context, account_id, found))

    @get(ONE, operation_id="GetBudget", opt={"answer": wire.Budget})
    async def get_budget(request: AnyRequest, account_id: str, budget_name: str) -> Response[bytes]:
        need_admin(caller_of(request).principal, account_id, ADMIN)
        found = await context.db.read(
            lambda conn: records.need_budget(conn, account_id, budget_name)
        )
        return money_answer((await shown(context, account_id, [found]))[0])

    return [list_budgets, get_budget]


def _writes(context: BillingContext) -> list[ControllerRouterHandler]:
    contract = {"answer": wire.Budget, "body": wire.Budget}

    @post(PATH, status_code=200, operation_id="CreateBudget", opt=contract)
    async def create_budget(request: AnyRequest, account_id: str) -> Response[bytes]:
        caller = caller_of(request).principal
        need_admin(caller, account_id, ADMIN)
        wanted = await decode_body(request, wire.Budget)
        check(wanted)
        budget = _made(wanted, account_id, new_uuid(), now())
        return await _created(context, caller, budget, wanted.secret or new_secret())

    @put(ONE, operation_id="UpdateBudget", opt=contract)
    async def update_budget(
        request: AnyRequest, account_id: str, budget_name: str
    ) -> Response[bytes]:
        need_admin(caller_of(request).principal, account_id, ADMIN)
        wanted = await decode_body(request, wire.Budget)
        if wanted.name not in {None, budget_name}:
            raise BadRequest("name cannot be changed; leave it out, or make another budget.")
        check(msgspec.structs.replace(wanted, name=budget_name))

        def write(conn: Connection) -> Budget:
            _check_key(conn, account_id, wanted.api_key)
            before = records.need_budget(conn, account_id, budget_name)
            changed = _made(wanted, account_id, before.id, now())
            after = msgspec.structs.replace(changed, name=budget_name, created_at=before.created_at)
            records.change_budget(conn, after, wanted.secret, context.vault)
            return after

        changed = await context.db.write(write)
        context.changed()
        return money_answer((await shown(context, account_id, [changed]))[0])

    @delete(ONE, status_code=200, operation_id="DeleteBudget", opt={"answer": wire.Budget})
    async def delete_budget(
        request: AnyRequest, account_id: str, budget_name: str
    ) -> Response[bytes]:
        need_admin(caller_of(request).principal, account_id, ADMIN)
        found = await context.db.read(
            lambda conn: records.need_budget(conn, account_id, budget_name)
        )
        answer = (await shown(context, account_id, [found]))[0]
        await context.db.write(lambda conn: records.drop_budget(conn, found))
        await context.settle()
        return money_answer(answer)

    return [create_budget, update_budget, delete_budget]


async def _created(
    context: BillingContext, caller: Principal, budget: Budget, secret: str
) -> Response[bytes]:
    def write(conn: Connection) -> None:
        _check_key(conn, budget.account_id, budget.filters.get("apiKey"))
        records.add_budget(conn, budget, secret, caller.subject, context.vault)

    await context.db.write(write)
    context.changed()
    (answer,) = await shown(context, budget.account_id, [budget])
    if budget.url:
        answer.secret = secret
    return money_answer(answer)


def _check_key(conn: Connection, account_id: str, key_id: str | None) -> None:
    if key_id is not None and not api_keys.is_of_account(conn, account_id, key_id):
        raise BadRequest(
            f"apiKey {key_id[:60]!r} is the id of no API key of this account; lists of keys tell"
            " their ids."
        )


async def shown(
    context: BillingContext, account_id: str, budgets: list[Budget]
) -> list[wire.Budget]:
    """Budgets with how they stand right now; those that refuse hold from now on as they are."""
    await context.settle()
    moment = now()
    prices = await context.prices_of(account_id)
    periods = {one.id: one.period(moment) for one in budgets}

    def amounts(conn: Connection) -> list[list[Amount | Used]]:
        return [list(used(conn, one, periods[one.id], prices, moment)) for one in budgets]

    found = await context.usage.read_in_thread(amounts)
    told = await context.db.read(
        lambda conn: records.find_alerts(conn, list(periods), set(periods.values()))
    )
    return [
        _shown(one, mine, periods[one.id], prices, told)
        for one, mine in zip(budgets, found, strict=True)
    ]


def _shown(
    budget: Budget,
    amounts: list[Amount | Used],
    period: str,
    prices: PriceList,
    told: dict[tuple[str, str, str], Row[Any]],
) -> wire.Budget:
    filters, cost = budget.filters, published(cost_of(amounts, prices))
    percent = EXACT.divide(EXACT.multiply(cost, Decimal(100)), budget.amount).quantize(
        Decimal("0.01"), context=EXACT
    )
    return wire.Budget(
        name=budget.name,
        amount=budget.amount,
        workspace=filters.get("workspace"),
        resource_type=filters.get("resourceType"),
        resource_name=filters.get("resourceName"),
        billing_dimension=filters.get("billingDimension"),
        thresholds=[
            _threshold(one, told.get((budget.id, period, one.key))) for one in budget.thresholds
        ],
        webhook_url=budget.url or None,
        action=cast(Any, budget.action),
        per=cast(Any, budget.per),
        api_key=filters.get("apiKey"),
        label=filters.get("label"),
        currency=prices.currency,
        period=period,
        spent=cost,
        unpriced=unpriced(amounts, prices) or None,
        percent=percent.quantize(PERCENT_PLACES, context=EXACT),
        created_at=budget.created_at,
        updated_at=budget.updated_at,
    )


def _threshold(one: Threshold, told: Row[Any] | None) -> wire.BudgetThreshold:
    alert = None
    if told is not None:
        alert = wire.BudgetAlert(
            id=told.id,
            period=told.period,
            crossed_at=told.crossed_at,
            state=told.state,
            attempts=told.attempts,
            delivered_at=told.delivered_at,
            problem=told.problem,
        )
    return wire.BudgetThreshold(percent=one.percent, amount=one.amount, alert=alert)


def _made(wanted: wire.Budget, account_id: str, budget_id: str, at: datetime) -> Budget:
    return Budget(
        id=budget_id,
        account_id=account_id,
        name=wanted.name or "",
        amount=wanted.amount,
        filters=filters_of(wanted),
        thresholds=thresholds_of(wanted),
        url=wanted.webhook_url or "",
        action=wanted.action or NOTIFY,
        per=wanted.per or "month",
        created_at=rfc3339(at),
        updated_at=rfc3339(at),
    )
