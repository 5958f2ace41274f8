"""The guard of the database: no statement of a request touches another tenant's rows.

It looks at every statement before it runs, and refuses what is not kept within the request's reach
by a condition of its own. So a query that forgot its workspace is an error and no leak. The form of
a statement is looked at once (SQLAlchemy keeps one compiled statement for each form), and its
values each time, which costs about a microsecond.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from sqlalchemy import BindParameter, Engine, event

from serai.store.conditions import Plan, Value, plan_of
from serai.store.reach import Reach, current
from serai.store.tenancy import Owner

BEGIN = "BEGIN"
"""What the engine itself says to the driver; nothing else is without a compiled form."""
log = structlog.get_logger(__name__)


class OutOfReach(Exception):
    """A statement that is not kept within its request's reach: a fault of ours, answered 500."""


class Check(msgspec.Struct, frozen=True):
    """One value of a compiled statement, by the name of its parameter."""

    name: str
    owner: Owner
    many: bool = False
    blank: str | None = None


class Compiled(msgspec.Struct, frozen=True):
    """A plan, with the names that a compiled statement gave its parameters."""

    reads: tuple[tuple[Check, ...], ...]
    writes: tuple[Check, ...]
    refusal: str | None


def guard(engine: Engine) -> None:
    """Put the guard before every statement of an engine."""

    @event.listens_for(engine, "before_cursor_execute")
    def check(
        conn: object, cursor: object, sql: str, parameters: object, context: Any, many: bool
    ) -> None:
        reach = current.get()
        if reach is None:
            return
        compiled = context.compiled
        if compiled is None:
            problem = None if sql == BEGIN else "a statement as text does not say whose rows"
        else:
            plan = getattr(compiled, "serai_plan", None) or _plan(compiled)
            problem = plan.refusal or _problem(plan, context, reach)
        if problem is not None:
            log.error("statement_out_of_reach", problem=problem, statement=sql)
            raise OutOfReach(f"{problem}: {sql}")


def _plan(compiled: Any) -> Compiled:
    plan = plan_of(compiled.statement)
    made = _named(plan, compiled)
    compiled.serai_plan = made
    return made


def _named(plan: Plan, compiled: Any) -> Compiled:
    names: Mapping[Any, str] = compiled.bind_names
    reads = tuple(tuple(_check(value, names) for value in group) for group in plan.values)
    writes = tuple(_check(value, names) for value in plan.written)
    return Compiled(reads, writes, plan.refusal)


def _check(value: Value, names: Mapping[Any, str]) -> Check:
    if not isinstance(value.bind, BindParameter):
        return Check(value.bind, value.owner)
    blank = names[value.blank] if value.blank is not None else None
    return Check(names[value.bind], value.owner, value.bind.expanding, blank)


def _problem(plan: Compiled, context: Any, reach: Reach) -> str | None:
    if not (plan.reads or plan.writes):
        return None
    for values in context.compiled_parameters:
        for group in plan.reads:
            if not any(_in_reach(check, values, context, reach) for check in group):
                return f"{group[0].name} is not in the caller's reach"
        if plan.writes:
            given = [(one, values[one.name]) for one in plan.writes if values.get(one.name)]
            if not all(_is_in(value, check.owner, reach) for check, value in given):
                return "a row would be given to another tenant"
    return None


def _in_reach(check: Check, values: Mapping[str, Any], context: Any, reach: Reach) -> bool:
    if check.blank is not None and values[check.blank] != "":
        return False
    if not check.many:
        return _is_in(values[check.name], check.owner, reach)
    expanded = context._expanded_parameters.get(check.name, ())
    return all(_is_in(values[name], check.owner, reach) for name in expanded)


def _is_in(value: Any, owner: Owner, reach: Reach) -> bool:
    if owner == "workspace":
        return value in reach.workspaces
    if owner == "account":
        return bool(value == reach.account_id)
    if owner == "billed account":
        return reach.account_admin and bool(value == reach.account_id)
    return bool(value == (reach.subject if owner == "subject" else reach.email))
