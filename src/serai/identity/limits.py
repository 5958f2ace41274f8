"""How often somebody may guess a password or a code, without locking anybody else out.

Failures are counted before a guess is checked, and taken back when it was right, so that many at
once cannot slip through. Every guess draws on several budgets:

- from a browser in which that person has signed in before (a signed cookie says so): only on the
  browser's own, which nobody else can use up;
- from anywhere else: on one for the name at this address, on one for the address over all names,
  and, while a name is *under attack* (many failures from unknown browsers), on one for the name
  at this network.

So who guesses from one place is stopped there; who guesses from many gets a few tries per
network and day; and the person gets in from their browser, from another network, or by a one-time
link, whatever others do.
"""

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from serai.kernel.clock import parse_rfc3339, rfc3339
from serai.kernel.errors import RateLimited
from serai.store.secrets import Vault
from serai.store.tables.sign_in import sign_in_failures as table

UNDER_ATTACK = 50
"""Failures of unknown browsers within a day from which on a name counts as under attack."""
QUARTER, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)


class Budget(msgspec.Struct, frozen=True):
    """So many failures in so much time. ``counts_only``: it is counted, but stops nothing."""

    key: str
    failures: int
    window: timedelta
    counts_only: bool = False


class TooManyFailures(RateLimited):
    """No further guess now (429)."""

    code = "TOO_MANY_FAILURES"


def for_password(name: str, address: str, browser: str | None) -> list[Budget]:
    """The budgets of a password typed for ``name`` at ``address``."""
    if browser is not None:
        return [Budget(f"browser:{browser}", 10, HOUR)]
    near = nearby(address)
    return [
        Budget(f"pair:{near}:{name}", 5, QUARTER),
        Budget(f"address:{near}", 50, QUARTER),
        Budget(f"name:{name}", UNDER_ATTACK, DAY, counts_only=True),
        Budget(f"network:{network(address)}:{name}", 3, DAY, counts_only=True),
    ]


def for_code(user_id: str, browser: str | None) -> list[Budget]:
    """The budgets of a second-factor code: only who knows the password can use them up."""
    if browser is not None:
        return [Budget(f"code-browser:{browser}:{user_id}", 10, HOUR)]
    return [Budget(f"code:{user_id}", 10, DAY)]


def for_secret(what: str, who: str) -> list[Budget]:
    """The budget of other secrets: user codes by person, links and keys by address."""
    return [Budget(f"{what}:{who}", 20, QUARTER)]


def spend(conn: Connection, vault: Vault, budgets: Sequence[Budget], at: datetime) -> None:
    """Count a failure in advance.

    Raises:
        TooManyFailures: one of the budgets is used up; nothing was counted.
    """
    rows = {budget.key: _row(conn, vault, budget, at) for budget in budgets}
    waits = [_wait(budget, rows[budget.key], at) for budget in _binding(budgets, rows)]
    wait = max(waits, default=timedelta(0))
    if wait > timedelta(0):
        seconds = int(wait.total_seconds()) + 1
        raise TooManyFailures(
            f"Too many wrong attempts. Try again {_in_words(seconds)}.",
            headers={"Retry-After": str(seconds)},
        )
    for budget in budgets:
        _count(conn, vault, budget, rows[budget.key], at)


def refund(conn: Connection, vault: Vault, budgets: Sequence[Budget]) -> None:
    """Take a failure back: the guess was right.

    The narrowest budget begins anew, as the person is there; the others lose only this one.
    """
    narrow, *others = [_digest(vault, budget) for budget in budgets]
    conn.execute(delete(table).where(table.c.key == narrow))
    less = update(table).where(table.c.key.in_(others), table.c.failures > 0)
    conn.execute(less.values(failures=table.c.failures - 1))


def give_back(conn: Connection, vault: Vault, budgets: Sequence[Budget]) -> None:
    """Take only this failure back: being right once says nothing about other guesses."""
    keys = [_digest(vault, budget) for budget in budgets]
    less = update(table).where(table.c.key.in_(keys), table.c.failures > 0)
    conn.execute(less.values(failures=table.c.failures - 1))


def prune(conn: Connection, at: datetime) -> int:
    """Forget failures that no budget counts any more; returns how many rows."""
    return conn.execute(delete(table).where(table.c.first_at < rfc3339(at - DAY))).rowcount


def nearby(address: str) -> str:
    """An address, or for IPv6 the /64 that one subscriber has at least."""
    return _grouped(address, 32, 64)


def network(address: str) -> str:
    """The network around an address: /24, for IPv6 /48."""
    return _grouped(address, 24, 48)


def _grouped(address: str, four: int, six: int) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    mapped = getattr(parsed, "ipv4_mapped", None)
    parsed = mapped or parsed
    prefix = four if parsed.version == 4 else six
    return str(ipaddress.ip_network(f"{parsed}/{prefix}", strict=False).network_address)


def _binding(budgets: Sequence[Budget], rows: dict[str, Any]) -> list[Budget]:
    """The budgets that stop a guess: those of networks only while the name is under attack."""
    hot = any(
        budget.key.startswith("name:") and _failures(rows[budget.key]) >= budget.failures
        for budget in budgets
    )
    return [
        budget
        for budget in budgets
        if not budget.counts_only or (hot and budget.key.startswith("network:"))
    ]


def _row(conn: Connection, vault: Vault, budget: Budget, at: datetime) -> Any | None:
    """The failures that count, or ``None``."""
    query = select(table).where(table.c.key == _digest(vault, budget))
    row = conn.execute(query).one_or_none()
    if row is None or parse_rfc3339(row.first_at) + budget.window <= at:
        return None
    return row


def _failures(row: Any | None) -> int:
    return 0 if row is None else int(row.failures)


def _wait(budget: Budget, row: Any | None, at: datetime) -> timedelta:
    if row is None or row.failures < budget.failures:
        return timedelta(0)
    return parse_rfc3339(row.first_at) + budget.window - at


def _count(conn: Connection, vault: Vault, budget: Budget, row: Any | None, at: datetime) -> None:
    key = _digest(vault, budget)
    if row is not None:
        more = {"failures": table.c.failures + 1, "last_at": rfc3339(at)}
        conn.execute(update(table).where(table.c.key == key).values(more))
        return
    conn.execute(delete(table).where(table.c.key == key))
    first = {"key": key, "failures": 1, "first_at": rfc3339(at), "last_at": rfc3339(at)}
    conn.execute(insert(table).values(first))


def _digest(vault: Vault, budget: Budget) -> str:
    """Names are what people type, at times a password: only digests are kept."""
    return vault.digest(f"failures:{budget.key}").hex()


def _in_words(seconds: int) -> str:
    if seconds < 90:
        return "in a minute"
    if seconds < 2 * 3600:
        return f"in {seconds // 60 + 1} minutes"
    return f"in {seconds // 3600 + 1} hours"
