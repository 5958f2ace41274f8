"""`serai reset-password`: a one-time link for somebody's password."""

import click

from serai.cli.options import common_options, load_settings, running_instance
from serai.kernel import instance
from serai.kernel.settings import Settings


@click.command("reset-password")
@common_options
@click.argument("email")
@click.option("--account", metavar="ID", help="Account of the user, when several have the address.")
def reset_password_command(email: str, account: str | None, **flags: str | bool | None) -> None:
    """Print a link with which EMAIL sets a new password, once, within an hour.

    For the first admin without a password it is the link that sets Serai up, good for a week.
    Works on the data directory, whether or not the server runs.
    """
    settings = load_settings(**flags)
    if not (settings.data_dir / "serai.db").exists():
        raise click.ClickException(
            f"there is no Serai in {settings.data_dir}. Start it once with `serai up`, or name the "
            "right directory with --data-dir or SERAI_DATA_DIR."
        )
    click.echo(_link(settings, email, account))


def _link(settings: Settings, email: str, account: str | None) -> str:
    from serai.identity.recovery import NoSuchUser, recovery_link
    from serai.kernel.clock import now
    from serai.store.database import Database
    from serai.store.secrets import Vault

    running = running_instance(settings)
    origin = settings.origin if running is None else running.url
    instance.prepare_data_dir(settings.data_dir)
    vault, db = (
        Vault.open(settings.data_dir / "master.key"),
        Database(settings.data_dir / "serai.db"),
    )
    db.open()
    try:
        return db.submit(
            lambda conn: recovery_link(conn, vault, email, account, origin, now())
        ).result()
    except NoSuchUser as problem:
        raise click.ClickException(str(problem)) from problem
    finally:
        db.close()
