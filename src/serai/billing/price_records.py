"""Prices that an account's admins set, in the database."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from serai.kernel.clock import rfc3339
from serai.metering.prices import Price, PriceList
from serai.store.tables.billing import price_lists, prices


def account_prices(conn: Connection, account_id: str, below: PriceList) -> PriceList:
    """The prices that hold for an account: its own, and ``below`` where it says nothing."""
    query = select(price_lists.c.currency).where(price_lists.c.account_id == account_id)
    currency = conn.execute(query).scalar()
    if currency is None:
        return below
    return below.under(own_prices(conn, account_id), currency)


def own_prices(conn: Connection, account_id: str) -> list[Price]:
    """The prices that an account's admins set, in their order."""
    mine = prices.c.account_id == account_id
    rows = conn.execute(select(prices).where(mine).order_by(prices.c.number))
    return [_price(row) for row in rows]


def replace_prices(
    conn: Connection,
    account_id: str,
    given: Sequence[Price],
    currency: str,
    by: str,
    at: datetime,
) -> None:
    """Set an account's own prices, all at once; they must have been checked."""
    drop_prices(conn, account_id)
    values = {"account_id": account_id, "currency": currency}
    conn.execute(insert(price_lists).values(**values, updated_at=rfc3339(at), updated_by=by))
    if given:
        rows = [_row(account_id, number, price) for number, price in enumerate(given, 1)]
        conn.execute(insert(prices), rows)


def drop_prices(conn: Connection, account_id: str) -> None:
    """Forget an account's own prices."""
    conn.execute(delete(prices).where(prices.c.account_id == account_id))
    conn.execute(delete(price_lists).where(price_lists.c.account_id == account_id))


def _row(account_id: str, number: int, price: Price) -> dict[str, Any]:
    ((per, amount, _),) = price.given
    return {
        "account_id": account_id,
        "number": number,
        "dimension": price.dimension,
        "per": per,
        "amount": str(amount),
        "provider": price.provider,
        "model": price.model,
        "since": price.since.isoformat(),
    }


def _price(row: Row[Any]) -> Price:
    amount: dict[str, Any] = {row.per: Decimal(row.amount)}
    return Price(
        dimension=row.dimension,
        provider=row.provider,
        model=row.model,
        since=date.fromisoformat(row.since),
        **amount,
    )
