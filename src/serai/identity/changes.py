"""The number that grows with every change of who may do what.

Each process remembers verified credentials for a while. It sees by this number, in a fraction of a
second, that another process (or an operator's command) has changed something.
"""

from sqlalchemy import Connection, select, update

from serai.store.tables.sign_in import identity_changes as table


def note(conn: Connection) -> None:
    """Say, in the transaction of a change, that there is one."""
    conn.execute(update(table).values(number=table.c.number + 1))


def latest(conn: Connection) -> int:
    """The number of the newest change."""
    return int(conn.execute(select(table.c.number)).scalar_one())
