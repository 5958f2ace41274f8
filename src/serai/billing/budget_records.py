"""Budgets and what they told, in the database."""

from collections.abc import Collection, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update

from serai.billing.budgets import MAX_BUDGETS, Budget, Threshold
from serai.billing.webhooks import Message
from serai.kernel.clock import rfc3339
from serai.kernel.errors import Conflict, NotFound
from serai.metering.times import millis
from serai.store.secrets import Vault
from serai.store.tables.billing import budget_alerts as alerts
from serai.store.tables.billing import budgets

PENDING, DELIVERED, FAILED = "pending", "delivered", "failed"


def find_budgets(conn: Connection, account_id: str | None = None) -> list[Budget]:
    """The budgets of an account, or all, by account and name."""
    query = select(budgets).order_by(budgets.c.account_id, budgets.c.name)
    if account_id is not None:
        query = query.where(budgets.c.account_id == account_id)
    return [_budget(row) for row in conn.execute(query)]


def need_budget(conn: Connection, account_id: str, name: str) -> Budget:
    """One budget.

    Raises:
        NotFound: there is none of that name.
    """
    mine = (budgets.c.account_id == account_id) & (budgets.c.name == name)
    row = conn.execute(select(budgets).where(mine)).one_or_none()
    if row is None:
        raise NotFound(f"There is no budget named {name[:80]!r}.", code="BUDGET_NOT_FOUND")
    return _budget(row)


def add_budget(conn: Connection, budget: Budget, secret: str, by: str, vault: Vault) -> None:
    """Keep a new budget.

    Raises:
        Conflict: the name is taken, or the account has too many.
    """
    mine = budgets.c.account_id == budget.account_id
    count = conn.execute(select(func.count()).select_from(budgets).where(mine)).scalar_one()
    if count >= MAX_BUDGETS:
        raise Conflict(
            f"The account has {count} budgets, which is the most; delete one first.",
            code="TOO_MANY_BUDGETS",
        )
    if conn.execute(select(budgets.c.id).where(mine, budgets.c.name == budget.name)).first():
        raise Conflict(
            f"There is a budget named {budget.name!r} already; PUT changes it.",
            code="BUDGET_ALREADY_EXISTS",
        )
    values = _values(budget) | {
        "id": budget.id,
        "account_id": budget.account_id,
        "name": budget.name,
        "secret": vault.seal(secret.encode(), budget.id),
        "created_at": budget.created_at,
        "created_by": by,
    }
    conn.execute(insert(budgets).values(values))


def change_budget(conn: Connection, budget: Budget, secret: str | None, vault: Vault) -> None:
    """Keep a changed budget, with another secret when one is given."""
    values = _values(budget)
    if secret is not None:
        values["secret"] = vault.seal(secret.encode(), budget.id)
    conn.execute(update(budgets).where(*_own(budget)).values(values))


def drop_budget(conn: Connection, budget: Budget) -> None:
    """Forget a budget and what it told or was about to tell."""
    conn.execute(delete(alerts).where(alerts.c.budget_id == budget.id))
    conn.execute(delete(budgets).where(*_own(budget)))


def _own(budget: Budget) -> tuple[ColumnElement[bool], ...]:
    return budgets.c.id == budget.id, budgets.c.account_id == budget.account_id


def find_alerts(
    conn: Connection, budget_ids: Collection[str], periods: Collection[str]
) -> dict[tuple[str, str, str], Row[Any]]:
    """What was told in some months, by budget, period and key of the threshold."""
    mine = alerts.c.budget_id.in_(list(budget_ids)) & alerts.c.period.in_(list(periods))
    rows = conn.execute(select(alerts).where(mine))
    return {(row.budget_id, row.period, row.threshold): row for row in rows}


def add_alerts(conn: Connection, rows: Iterable[dict[str, Any]], now: datetime) -> int:
    """Keep what is to be told: once per budget, period and threshold. Returns how many are new.

    What belongs to a budget that is gone meanwhile is left out.
    """
    added = 0
    for row in rows:
        exists = select(budgets.c.id).where(budgets.c.id == row["budget_id"])
        known = find_alerts(conn, [row["budget_id"]], [row["period"]])
        key = row["budget_id"], row["period"], row["threshold"]
        if key in known or conn.execute(exists).first() is None:
            continue
        state = {"state": PENDING, "attempts": 0, "next_at": millis(now)}
        conn.execute(insert(alerts).values(**row, **state, crossed_at=rfc3339(now)))
        added += 1
    return added


def due_alerts(conn: Connection, now: datetime, vault: Vault, limit: int) -> list[Message]:
    """What is to be sent now, the longest due first."""
    query = (
        select(alerts.c.id, alerts.c.payload, budgets.c.id.label("budget"), budgets.c.url)
        .add_columns(budgets.c.secret)
        .join(budgets, budgets.c.id == alerts.c.budget_id)
        .where(alerts.c.state == PENDING, alerts.c.next_at <= millis(now))
        .order_by(alerts.c.next_at, alerts.c.id)
        .limit(limit)
    )
    return [
        Message(row.id, row.url, row.payload, vault.unseal(row.secret, row.budget).decode())
        for row in conn.execute(query)
    ]


def next_due(conn: Connection) -> int | None:
    """When the next attempt is, in milliseconds since 1970."""
    query = select(func.min(alerts.c.next_at)).where(alerts.c.state == PENDING)
    due: int | None = conn.execute(query).scalar()
    return due


def note_delivered(conn: Connection, alert_id: str, at: datetime) -> None:
    """The receiver took it."""
    _note(conn, alert_id, state=DELIVERED, delivered_at=rfc3339(at), problem=None)


def note_failure(conn: Connection, alert_id: str, problem: str, again: datetime | None) -> None:
    """An attempt failed; the next one is at ``again``, or never."""
    if again is None:
        _note(conn, alert_id, state=FAILED, problem=problem)
    else:
        _note(conn, alert_id, next_at=millis(again), problem=problem)


def attempts_of(conn: Connection, alert_id: str) -> tuple[int, str] | None:
    """How often it was sent, and when its threshold was crossed; ``None`` when it is gone."""
    query = select(alerts.c.attempts, alerts.c.crossed_at).where(alerts.c.id == alert_id)
    row = conn.execute(query).one_or_none()
    return None if row is None else (row.attempts, row.crossed_at)


def _note(conn: Connection, alert_id: str, **values: Any) -> None:
    change = update(alerts).where(alerts.c.id == alert_id)
    conn.execute(change.values(attempts=alerts.c.attempts + 1, **values))


def _values(budget: Budget) -> dict[str, Any]:
    return {
        "amount": str(budget.amount),
        "filters": msgspec.json.encode(budget.filters).decode(),
        "thresholds": msgspec.json.encode(budget.thresholds).decode(),
        "url": budget.url,
        "action": budget.action,
        "per": budget.per,
        "updated_at": budget.updated_at,
    }


def _budget(row: Row[Any]) -> Budget:
    return Budget(
        id=row.id,
        account_id=row.account_id,
        name=row.name,
        amount=Decimal(row.amount),
        filters=msgspec.json.decode(row.filters, type=dict[str, str]),
        thresholds=msgspec.json.decode(row.thresholds, type=tuple[Threshold, ...]),
        url=row.url,
        action=row.action,
        per=row.per,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
