"""Closed statements in the database: they are added, and never changed."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from serai.billing.statements import (
    LOOK_BACK,
    Closed,
    Line,
    LineKey,
    decode_prices,
    encode_prices,
    total_of,
)
from serai.kernel.clock import rfc3339
from serai.kernel.errors import NotFound
from serai.metering.money import plain
from serai.metering.prices import PriceList
from serai.store.tables.billing import statement_lines as lines
from serai.store.tables.billing import statements
from serai.wire.billing import Statement


def find_statements(conn: Connection, account_id: str) -> list[Statement]:
    """The statements of an account, the newest first, without their lines."""
    mine = select(statements).where(statements.c.account_id == account_id)
    return [_statement(row) for row in conn.execute(mine.order_by(statements.c.month.desc()))]


def closed_months(conn: Connection, account_id: str) -> set[str]:
    """The months of an account that are closed."""
    mine = select(statements.c.month).where(statements.c.account_id == account_id)
    return set(conn.execute(mine).scalars())


def need_statement(conn: Connection, account_id: str, month: str) -> Statement:
    """One statement with its lines.

    Raises:
        NotFound: the month is not closed.
    """
    mine = (statements.c.account_id == account_id) & (statements.c.month == month)
    row = conn.execute(select(statements).where(mine)).one_or_none()
    if row is None:
        raise NotFound(
            f"There is no statement of {month[:20]!r}: it may not be closed yet.",
            code="STATEMENT_NOT_FOUND",
        )
    of_it = (lines.c.account_id == account_id) & (lines.c.month == month)
    found = conn.execute(select(lines).where(of_it).order_by(lines.c.number))
    statement = _statement(row)
    statement.lines = [_line(one).shown(month) for one in found]
    return statement


def earlier_months(conn: Connection, account_id: str, month: str) -> list[Closed]:
    """The closed months before one in which late usage is looked for, and what was billed."""
    mine = statements.c.account_id == account_id
    query = select(statements).where(mine, statements.c.month < month)
    rows = conn.execute(query.order_by(statements.c.month.desc()).limit(LOOK_BACK)).all()
    billed = _billed(conn, account_id, [row.month for row in rows])
    return [Closed(row.month, decode_prices(row.prices), billed[row.month]) for row in rows]


def add_statement(
    conn: Connection,
    account_id: str,
    month: str,
    prices: PriceList,
    found: Sequence[Line],
    by: str,
    at: datetime,
) -> bool:
    """Close a month, in one transaction; ``False`` when somebody else has closed it."""
    if month in closed_months(conn, account_id):
        return False
    same = {"account_id": account_id, "month": month}
    conn.execute(
        insert(statements).values(
            **same,
            currency=prices.currency,
            total=plain(total_of(found)),
            prices=encode_prices(prices),
            closed_at=rfc3339(at),
            closed_by=by,
        )
    )
    if found:
        rows = [same | {"number": number} | _row(line) for number, line in enumerate(found, 1)]
        conn.execute(insert(lines), rows)
    return True


def _billed(
    conn: Connection, account_id: str, months: Sequence[str]
) -> dict[str, dict[LineKey, int]]:
    billed: dict[str, dict[LineKey, int]] = defaultdict(lambda: defaultdict(int))
    mine = (lines.c.account_id == account_id) & lines.c.period.in_(months)
    for row in conn.execute(select(lines).where(mine)):
        line = _line(row)
        billed[row.period][line.key] += line.quantity
    return billed


def _row(line: Line) -> dict[str, Any]:
    key = line.key
    return {
        "period": key.period,
        "since": key.since,
        "workspace": key.workspace,
        "resource_type": key.resource_type,
        "dimension": key.dimension,
        "provider": key.provider,
        "model": key.model,
        "per": line.per,
        "price": plain(line.price),
        "quantity": line.quantity,
        "cost": plain(line.cost),
    }


def _line(row: Row[Any]) -> Line:
    key = LineKey(
        row.period,
        row.workspace,
        row.resource_type,
        row.dimension,
        row.provider,
        row.model,
        row.since,
    )
    return Line(key, row.quantity, row.per, Decimal(row.price), Decimal(row.cost))


def _statement(row: Row[Any]) -> Statement:
    return Statement(
        month=row.month,
        currency=row.currency,
        total=Decimal(row.total),
        closed_at=row.closed_at,
        closed_by=row.closed_by,
    )
