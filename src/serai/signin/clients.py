"""What applications are called, for people."""

from sqlalchemy import Connection, select

from serai.store.tables.oauth import oauth_clients

BUILT_IN = {"blaxel": "Blaxel CLI and SDKs"}


def name_of(conn: Connection, client_id: str) -> str:
    """The name of an application; its id when it is gone."""
    if client_id in BUILT_IN:
        return BUILT_IN[client_id]
    query = select(oauth_clients.c.name).where(oauth_clients.c.client_id == client_id)
    return str(conn.execute(query).scalar() or client_id)
