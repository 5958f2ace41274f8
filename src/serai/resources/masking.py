"""Secret values inside documents: taken out, masked, and put back for those who may see them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

MASK = "********"


class Slot(msgspec.Struct, frozen=True):
    """One secret value: its stable key in the document, and the container and field it is in.

    ``made`` makes the value of one that clients never send.
    """

    key: str
    container: dict[str, Any]
    field: str
    made: Callable[[], str] | None = None


def map_slots(prefix: str, values: dict[str, Any] | None) -> Iterator[Slot]:
    """Every value of a map is secret."""
    for name in values or {}:
        assert values is not None
        yield Slot(f"{prefix}.{name}", values, name)


def env_slots(body: dict[str, Any]) -> Iterator[Slot]:
    """Values of ``spec.runtime.envs`` entries with ``secret: true``."""
    runtime = body["spec"].get("runtime") or {}
    for env in runtime.get("envs") or []:
        if env.get("secret"):
            yield Slot(f"spec.runtime.envs.{env['name']}", env, "value")


def is_mask(value: Any) -> bool:
    """Whether a client sent back what we show instead of a secret."""
    return isinstance(value, str) and len(value) >= 3 and set(value) == {"*"}


def take_out(slots: Iterable[Slot], known: dict[str, str]) -> dict[str, str]:
    """Mask every slot and return the real values; a mask that came back keeps the known value."""
    taken: dict[str, str] = {}
    for slot in slots:
        value = slot.container.get(slot.field, "")
        if is_mask(value) and slot.key in known:
            value = known[slot.key]
        elif slot.made is not None and is_mask(value):
            value = slot.made()
        taken[slot.key] = value
        slot.container[slot.field] = MASK
    return taken


def put_back(slots: Iterable[Slot], known: dict[str, str]) -> None:
    """Replace every mask by its real value."""
    for slot in slots:
        if slot.key in known:
            slot.container[slot.field] = known[slot.key]
