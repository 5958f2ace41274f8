"""What applications are called, for people."""

from sqlalchemy import Connection

from serai.oauth import clients
from serai.store.secrets import Vault


def name_of(conn: Connection, vault: Vault, client_id: str) -> str:
    """The name of an application; its id when it is gone."""
    client = clients.find(conn, vault, client_id)
    return client.name if client else client_id
