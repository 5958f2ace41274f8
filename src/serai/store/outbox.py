"""The outbox: events written in the transaction of what happened, delivered afterwards.

Whoever delivers reads ``waiting``, tells the receiver, and only then calls ``delivered``. A crash
between the two tells it twice, so receivers must know a number that they have seen.
"""

import msgspec
from sqlalchemy import Connection, delete, insert, select

from serai.store.dialect import insert_new
from serai.store.tables.outbox import outbox


class Message(msgspec.Struct, frozen=True):
    """One event: its number in the order of all events, and its body as JSON."""

    number: int
    body: str


def append(conn: Connection, topic: str, body: msgspec.Struct) -> None:
    """Add an event about what this transaction changes."""
    conn.execute(insert(outbox).values(topic=topic, body=msgspec.json.encode(body).decode()))


def waiting(conn: Connection, topic: str, limit: int) -> list[Message]:
    """The oldest undelivered events of a topic, in order."""
    c = outbox.c
    query = select(c.number, c.body).where(c.topic == topic).order_by(c.number).limit(limit)
    return [Message(*row) for row in conn.execute(query)]


def delivered(conn: Connection, topic: str, up_to: int) -> None:
    """Forget the events of a topic up to a number."""
    c = outbox.c
    conn.execute(delete(outbox).where(c.topic == topic, c.number <= up_to))


def number_above(conn: Connection, topic: str, number: int) -> None:
    """Give later events numbers above this one: for an outbox restored from an older backup."""
    if not insert_new(conn, outbox, {"number": number, "topic": topic, "body": ""}):
        return
    conn.execute(delete(outbox).where(outbox.c.number == number, outbox.c.body == ""))
