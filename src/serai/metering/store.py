"""The usage store: usage in a database of its own, in the data directory or on PostgreSQL."""

from pathlib import Path

from serai.store.database import Database
from serai.store.migrations import USAGE

FILE = "usage.db"


class UsageStore(Database):
    """The database of the usage tables; ``read`` and ``write`` as of the platform's database.

    Args:
        data_dir: where the file ``usage.db`` is.
        url: of a PostgreSQL database to use instead.
    """

    def __init__(self, data_dir: Path, url: str | None = None) -> None:
        super().__init__(url if url is not None else data_dir / FILE, USAGE)
