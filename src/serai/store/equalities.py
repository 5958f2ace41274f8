"""Equalities in a statement's conditions: which column is known to be what."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    ColumnClause,
    Grouping,
)
from sqlalchemy.sql.selectable import ScalarSelect, SelectStatementGrouping

EQUAL = frozenset({operators.eq, operators.in_op})


class Equality(msgspec.Struct, frozen=True):
    """A condition that must hold: a column is one value, or one of some.

    ``blank`` is text that is appended to the column; ``right`` are the tables that the condition
    is about, when it is one of an outer join.
    """

    column: Any
    other: Any
    blank: BindParameter[Any] | None = None
    right: frozenset[int] | None = None

    def is_about(self, source: Any) -> bool:
        """Whether it speaks of the rows of a table, or of an alias of one."""
        here = id(source)
        return id(self.column.table) == here and (self.right is None or here in self.right)


class Either(msgspec.Struct, frozen=True):
    """Conditions of which one must hold; each branch is those that must hold together."""

    branches: list[list[Equality]]


Condition = Equality | Either


def equalities(
    conditions: Iterable[Any], right: frozenset[int] | None = None
) -> Iterator[Condition]:
    """Those that follow from conditions which all hold; ``right`` as in Equality."""
    for condition in conditions:
        if isinstance(condition, Grouping):
            yield from equalities([condition.element], right)
        elif isinstance(condition, BooleanClauseList) and condition.operator is operators.and_:
            yield from equalities(condition.clauses, right)
        elif isinstance(condition, BooleanClauseList):
            branches = [[*equalities([one], right)] for one in condition.clauses]
            yield Either([[one for one in b if isinstance(one, Equality)] for b in branches])
        elif isinstance(condition, BinaryExpression) and condition.operator in EQUAL:
            one, other = _bare(condition.left), _bare(condition.right)
            yield from _equality(one, other, right)
            if condition.operator is operators.eq:
                yield from _equality(other, one, right)


def _equality(one: Any, other: Any, right: frozenset[int] | None) -> Iterator[Equality]:
    blank = None
    if isinstance(one, BinaryExpression) and one.operator is operators.concat_op:
        one, blank = one.left, one.right
        if not isinstance(blank, BindParameter):
            return
    if isinstance(one, ColumnClause) and one.table is not None:
        yield Equality(one, other, blank, right)


def _bare(element: Any) -> Any:
    while isinstance(element, Grouping | ScalarSelect | SelectStatementGrouping):
        element = element.element
    return element
