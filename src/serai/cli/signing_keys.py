"""`serai signing-keys`: the keys that access tokens are signed with."""

from typing import TYPE_CHECKING

import click

from serai.cli.maintenance import opened
from serai.cli.options import common_options, load_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection


@click.group("signing-keys")
def signing_keys_command() -> None:
    """List or replace the keys that access tokens are signed with.

    They are replaced by themselves every 30 days; this is for a key that may have leaked.
    """


@signing_keys_command.command("list")
@common_options
def list_command(**flags: str | bool | None) -> None:
    """Print the id of each key and since, or from, when it signs."""
    from serai.identity import signing_keys

    with opened(load_settings(**flags)) as (database, vault):
        for key in database.read_now(lambda conn: signing_keys.load(conn, vault)):
            click.echo(f"{key.kid}  {key.active_from:%Y-%m-%d %H:%M:%SZ}")


@signing_keys_command.command("replace")
@common_options
@click.option(
    "--at-once",
    is_flag=True,
    help="Sign with the new key from now on and refuse every token of the old ones.",
)
def replace_command(at_once: bool, **flags: str | bool | None) -> None:
    """Make a new key; it signs in a day, when everybody has seen it, or --at-once.

    With --at-once all access tokens end; clients get new ones by their refresh tokens. A running
    server notices within a second.
    """
    from serai.identity import changes, signing_keys
    from serai.kernel.clock import now

    with opened(load_settings(**flags)) as (database, vault):

        def replace(conn: "Connection") -> str:
            changes.note(conn)
            return signing_keys.replace(conn, vault, now(), at_once=at_once)

        click.echo(database.submit(replace).result())
