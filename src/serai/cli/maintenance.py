"""What commands share that work on the data directory itself, with a server running or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from serai.kernel.errors import SeraiError
from serai.kernel.settings import Settings

if TYPE_CHECKING:
    from serai.store.database import Database
    from serai.store.secrets import Vault


@contextmanager
def opened(settings: Settings) -> "Iterator[tuple[Database, Vault]]":
    """The database and vault of a data directory that exists; closed afterwards.

    Raises:
        click.ClickException: there is none, or what was done with it failed.
    """
    from serai.store.database import Database
    from serai.store.secrets import Vault

    path = settings.data_dir / "serai.db"
    if not path.exists():
        raise click.ClickException(
            f"there is no data in {settings.data_dir}: start `serai up` once, or name the right "
            "directory with --data-dir or SERAI_DATA_DIR."
        )
    try:
        database, vault = Database(path), Vault.open(settings.data_dir / "master.key")
        database.open()
        try:
            yield database, vault
        finally:
            database.close()
    except SeraiError as problem:
        raise click.ClickException(problem.message) from problem
