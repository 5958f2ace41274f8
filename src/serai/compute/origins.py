"""Where the files of a new sandbox come from."""

from collections.abc import Awaitable, Callable

import msgspec
from sqlalchemy import Connection

from serai.resources.documents import Document


def _no_layers(conn: Connection) -> tuple[str, ...]:
    return ()


class Origin(msgspec.Struct, frozen=True):
    """What a sandbox starts with beside its image.

    Attributes:
        layers: the saved files that it lies on, in the transaction that makes its row; refuses
            when they are not there any more.
        fill: gives it files of its own and sets its row's layers, before it starts.
        memory: the saved set with whose processes it begins.
    """

    layers: Callable[[Connection], tuple[str, ...]] = _no_layers
    fill: Callable[[Document], Awaitable[None]] | None = None
    memory: str | None = None


IMAGE = Origin()
"""Nothing: the image as it is."""
