"""Requests held against the types of the providers' official SDKs."""

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from scene import Refused


def checker(
    kind: Any, error: Callable[[int, str], dict[str, Any]], refused: frozenset[str] = frozenset()
) -> Callable[[Any], Any]:
    """A function that validates a request's body by a type, and refuses what is wrong with 422.

    So are fields that the type does not have, and those in ``refused``; inside of messages
    providers overlook them. Iterables of the SDKs' parameter types are lazy: they are walked, so
    that all is seen.
    """
    adapter = TypeAdapter(kind)
    known = None if issubclass(kind, BaseModel) else set(kind.__annotations__) - refused

    def check(body: Any) -> Any:
        unknown = set() if known is None else body.keys() - known
        if unknown:
            raise Refused(422, error(422, f"{min(unknown)}: Extra inputs are not permitted"))
        try:
            return _walked(adapter.validate_python(body))
        except ValidationError as problem:
            found = problem.errors()
            other = [each for each in found if each["type"] != "literal_error"]  # of this role
            first = (other or found)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise Refused(422, error(422, f"{where}: {first['msg']}")) from None

    return check


def _walked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _walked(part) for name, part in value.items()}
    if isinstance(value, list | tuple | Iterator):
        return [_walked(part) for part in value]
    return value
