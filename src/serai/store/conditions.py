"""What a statement's conditions say about whose rows it touches.

A statement is looked at once per shape. The answer is a ``Plan``: which bound values have to be in
reach, or why the statement can never be let through. What is not understood is refused.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from sqlalchemy import Table
from sqlalchemy.sql.dml import Delete, Insert, Update
from sqlalchemy.sql.elements import (
    BindParameter,
    ClauseElement,
    ColumnClause,
    ReleaseSavepointClause,
    RollbackToSavepointClause,
    SavepointClause,
    TextClause,
)
from sqlalchemy.sql.selectable import (
    CTE,
    Alias,
    CompoundSelect,
    FromGrouping,
    Join,
    Select,
    SelectBase,
    Subquery,
    TableValuedAlias,
)

from serai.store.equalities import Condition, Either, Equality, equalities
from serai.store.tenancy import GLOBAL, OWNED, Owned, Owner

SAVEPOINTS = (SavepointClause, RollbackToSavepointClause, ReleaseSavepointClause)


class Value(msgspec.Struct, frozen=True):
    """A bound value that has to be in reach; ``blank``: one that has to be the empty text."""

    bind: BindParameter[Any] | str
    owner: Owner
    blank: BindParameter[Any] | None = None


Group = tuple[Value, ...]


class Plan(msgspec.Struct, frozen=True):
    """What has to hold: of each group of ``values`` one; all of ``written`` that are given."""

    values: tuple[Group, ...] = ()
    written: tuple[Value, ...] = ()
    refusal: str | None = None


class Refused(Exception):
    """A statement that could touch anybody's rows."""


class Place(msgspec.Struct, eq=False):
    """A tenant table (or an alias of one) in a FROM clause, and what is known of its rows."""

    source: Any
    name: str
    owned: Owned
    values: dict[int, Value] = {}
    bounded: bool = False
    part: bool = False

    @property
    def state(self) -> tuple[int, bool, bool]:
        """How much is known; it only grows."""
        return len(self.values), self.bounded, self.part

    @property
    def open(self) -> bool:
        """Whether nothing says whose its rows are."""
        return self.state == (0, False, False)


def plan_of(statement: Any) -> Plan:
    """What has to hold before a statement may run."""
    try:
        values = _values(statement)
    except Refused as problem:
        return Plan(refusal=str(problem))
    return values


def _values(statement: Any) -> Plan:
    if isinstance(statement, SAVEPOINTS):
        return Plan()
    if isinstance(statement, SelectBase):
        return Plan(values=tuple(_of_select(statement, [])))
    if isinstance(statement, Insert):
        return _of_insert(statement)
    if isinstance(statement, Update | Delete):
        return _of_change(statement)
    raise Refused(f"{type(statement).__name__} is not a statement whose rows can be told")


def _of_insert(statement: Insert) -> Plan:
    owned = _owned(statement.table)
    if owned is None:
        return Plan()
    if statement.select is not None or statement._multi_values or statement._independent_ctes:
        raise Refused(f"what is inserted into {statement.table.name} is not given row by row")
    conflict = getattr(statement, "_post_values_clause", None)
    target = getattr(conflict, "inferred_target_elements", None) or ()
    overwrites = getattr(conflict, "update_values_to_set", None) is not None
    if overwrites and not {*owned.owners, *owned.links} & {str(one) for one in target}:
        raise Refused(f"another tenant's row of {statement.table.name} could be overwritten")
    inside = [*(statement._values or {}).values(), *statement._returning]
    return Plan(values=tuple(_nested(inside, [])), written=_written(owned, statement))


def _written(owned: Owned, statement: Any) -> tuple[Value, ...]:
    set_ = {getattr(key, "key", key): value for key, value in (statement._values or {}).items()}
    found = []
    for column, owner in owned.owners.items():
        if owner in {"subject", "email"}:
            continue
        value = set_.get(column)
        if value is not None and not isinstance(value, BindParameter):
            raise Refused(f"{column} of {statement.table.name} is computed")
        found.append(Value(column, "account" if owner == "billed account" else owner))
    return tuple(found)


def _of_change(statement: Any) -> Plan:
    places = _places([statement.table])
    conditions = statement._where_criteria
    values = [*_bound(places, [*equalities(conditions)], [])]
    given = (statement._values or {}).values() if isinstance(statement, Update) else ()
    inside = [*conditions, *given, *statement._returning]
    _refuse_others(statement.table, inside)
    values += _nested(inside, places)
    owned = _owned(statement.table)
    if owned is None or isinstance(statement, Delete):
        return Plan(values=tuple(values))
    return Plan(values=tuple(values), written=_written(owned, statement))


def _refuse_others(table: Any, elements: list[Any]) -> None:
    """Let a change read no other table but in queries of its own."""
    for element in _flat(elements):
        if isinstance(element, ColumnClause) and element.table not in {None, table}:
            raise Refused(f"{element.table} is read without a query of its own")


def _of_select(statement: Any, outer: list[Place]) -> list[Group]:
    if isinstance(statement, CompoundSelect):
        return [one for part in statement.selects for one in _of_select(part, outer)]
    if not isinstance(statement, Select):
        element = getattr(statement, "element", None)
        if element is None:
            raise Refused(f"{type(statement).__name__} is not a query whose rows can be told")
        return _of_select(element, outer)
    froms = statement.get_final_froms()
    inherited = {id(place.source) for place in outer} if len(froms) > 1 else set()
    own = [place for place in _places(froms) if id(place.source) not in inherited]
    places = [*own, *outer]
    conditions = [*statement._where_criteria]
    pairs = [*equalities(conditions), *(pair for one in froms for pair in _of_joins(one))]
    values = [*_bound(own, pairs, outer)]
    for one in froms:
        values += _in_from(one, places)
    return values + _nested(_expressions(statement), places)


def _expressions(statement: Select[Any]) -> list[Any]:
    return [
        *statement._where_criteria,
        *statement._raw_columns,
        *statement._having_criteria,
        *statement._order_by_clauses,
        *statement._group_by_clauses,
    ]


def _in_from(source: Any, places: list[Place]) -> list[Group]:
    if isinstance(source, Join):
        inside = [*_in_from(source.left, places), *_in_from(source.right, places)]
        return [*inside, *_nested([source.onclause], places)]
    if isinstance(source, FromGrouping):
        return _in_from(source.element, places)
    if isinstance(source, Table) or (
        isinstance(source, Alias) and isinstance(source.element, Table)
    ):
        return []
    if isinstance(source, TableValuedAlias):
        return _nested(source.get_children(), places)
    if isinstance(source, Subquery | CTE):
        return _of_select(source.element, [])
    raise Refused(f"{type(source).__name__} is not a source whose rows can be told")


def _nested(elements: Iterable[Any], places: list[Place]) -> list[Group]:
    """What the queries inside expressions ask for."""
    found: list[Group] = []
    for query in _queries(elements):
        found += _of_select(query, places)
    return found


def _queries(elements: Iterable[Any]) -> Iterator[Any]:
    for element in _flat(elements):
        if isinstance(element, SelectBase):
            yield element
        elif isinstance(element, TextClause) and "select" in element.text.lower():
            raise Refused("a query written as text does not say whose rows it reads")


def _flat(elements: Iterable[Any]) -> Iterator[Any]:
    """All parts of some expressions; queries are parts, and what is in them is not."""
    waiting = [one for one in elements if isinstance(one, ClauseElement)]
    while waiting:
        element = waiting.pop()
        yield element
        if not isinstance(element, SelectBase | Table):
            waiting += element.get_children()


def _places(sources: Iterable[Any]) -> list[Place]:
    found: dict[int, Place] = {}
    for source in sources:
        for table in _tables(source):
            owned = _owned(table)
            if owned is not None:
                found[id(table)] = Place(table, _name(table), owned)
    return list(found.values())


def _tables(source: Any) -> Iterator[Any]:
    if isinstance(source, Join):
        yield from _tables(source.left)
        yield from _tables(source.right)
    elif isinstance(source, FromGrouping):
        yield from _tables(source.element)
    elif isinstance(source, Table) or isinstance(getattr(source, "element", None), Table):
        yield source


def _name(table: Any) -> str:
    return str(table.name if isinstance(table, Table) else table.element.name)


def _owned(table: Any) -> Owned | None:
    name = _name(table)
    if name in GLOBAL:
        return None
    if name not in OWNED:
        raise Refused(f"nothing says whose the rows of {name} are")
    return OWNED[name]


def _bound(places: list[Place], conditions: list[Condition], outer: list[Place]) -> list[Group]:
    """The values to check: of each group one has to be in reach. One group for each place.

    Raises:
        Refused: nothing bounds one of the places.
    """
    known = {id(place.source): place for place in [*outer, *places]}
    found: list[Group] = []
    while _learn(places, conditions, known, found):
        pass
    for place in places:
        if place.open:
            raise Refused(f"no condition keeps the rows of {place.name} within a tenant")
        if not (place.bounded or place.part):
            found.append(tuple(place.values.values()))
    return found


def _learn(
    places: list[Place], conditions: list[Condition], known: dict[int, Place], found: list[Group]
) -> bool:
    """Take what the conditions say about the places; whether that is more than was known."""
    before = [place.state for place in places]
    for place in places:
        for condition in conditions:
            if isinstance(condition, Equality):
                _take(place, condition, known)
    if before != [place.state for place in places]:
        return True
    for place in places:
        for condition in conditions:
            if isinstance(condition, Either) and not (place.bounded or place.part):
                _take_either(place, condition, known, found)
    return before != [place.state for place in places]


def _take(place: Place, pair: Equality, known: dict[int, Place]) -> None:
    if not pair.is_about(place.source):
        return
    owner, links = place.owned.owners.get(pair.column.key), place.owned.links
    if isinstance(pair.other, BindParameter):
        if owner:
            place.values[id(pair.other)] = Value(pair.other, owner, pair.blank)
        place.part |= place.owned.part and pair.column.key in links
    elif owner or pair.column.key in links:
        # rows that are joined to rows in reach are in reach too
        place.bounded |= _is_query_in_reach(pair.other, known)
        other = known.get(id(getattr(pair.other, "table", None)))
        if other is not None:
            place.values |= other.values
            place.bounded |= other.bounded


def _take_either(
    place: Place, condition: Either, known: dict[int, Place], found: list[Group]
) -> None:
    """Conditions of which one must hold bound a place when each of them does."""
    groups: list[Group] = []
    for branch in condition.branches:
        alone = Place(place.source, place.name, place.owned)
        for pair in branch:
            _take(alone, pair, known)
        if alone.values and not alone.bounded:
            groups.append(tuple((place.values | alone.values).values()))
        elif not alone.bounded:
            return
    place.bounded = True
    found += groups


def _is_query_in_reach(other: Any, known: dict[int, Place]) -> bool:
    """Whether it is a query (or a column of one) that some tenant's reach bounds."""
    if isinstance(other, SelectBase):
        return bool(_of_select(other, list(known.values())))
    table = getattr(other, "table", None)
    return isinstance(table, Subquery | CTE) and bool(_of_select(table.element, []))


def _of_joins(source: Any) -> Iterator[Condition]:
    if isinstance(source, FromGrouping):
        yield from _of_joins(source.element)
    if not isinstance(source, Join):
        return
    yield from _of_joins(source.left)
    yield from _of_joins(source.right)
    if not source.full:
        inside = frozenset(map(id, _tables(source.right))) if source.isouter else None
        yield from equalities([source.onclause], inside)
