"""`serai accounts`: further accounts of an installation, which see nothing of each other."""

from typing import TYPE_CHECKING

import click

from serai.cli.maintenance import opened
from serai.cli.options import common_options, load_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from serai.identity.accounts import Summary


@click.group("accounts")
def accounts_command() -> None:
    """List accounts, or open another one.

    An account has workspaces, people and a bill of its own. The first start opens the first one.
    """


@accounts_command.command("list")
@common_options
def list_command(**flags: str | bool | None) -> None:
    """Print each account with its workspaces and its admins."""
    from serai.identity import accounts

    with opened(load_settings(**flags)) as (database, _):
        for one in database.read_now(accounts.summaries):
            _show(one)


def _show(one: "Summary") -> None:
    click.echo(f"{one.id}  {one.name}")
    click.echo(f"    workspaces: {', '.join(one.workspaces) or '(none)'}")
    click.echo(f"    admins: {', '.join(one.admins) or '(none)'}")


@accounts_command.command("create")
@click.argument("name")
@click.option("--email", required=True, metavar="ADDRESS", help="Address of its first admin.")
@click.option("--workspace", required=True, metavar="NAME", help="Name of its first workspace.")
@common_options
def create_command(name: str, email: str, workspace: str, **flags: str | bool | None) -> None:
    """Open an account with a workspace and an admin, and print the admin's API key.

    The key stands nowhere else. It works at once, also with a server that runs already.
    """
    from serai.gateway.targets import RESERVED
    from serai.identity import accounts, changes, workspaces
    from serai.identity.api_keys import check_title
    from serai.identity.names import NameRules
    from serai.identity.people import check_email
    from serai.kernel.errors import Conflict

    rules = NameRules(frozenset(segment.decode() for segment in RESERVED))
    with opened(load_settings(**flags)) as (database, vault):

        def create(conn: "Connection") -> str:
            title, address = check_title(name, "NAME"), check_email(email)
            rules.check(workspace)
            if workspaces.taken(conn, workspace, ""):
                raise Conflict(f"The workspace name {workspace!r} is taken.")
            key = accounts.open_account(conn, vault, title, address, workspace)
            changes.note(conn)
            return key

        click.echo(database.submit(create).result())
