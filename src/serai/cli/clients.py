"""`serai env` and `serai exec`: connect a client of the hosted service to this server."""

import json
import os
from pathlib import Path

import click

from serai.cli.options import (
    common_options,
    load_settings,
    not_running_message,
    running_instance,
)
from serai.connect.environment import ClientEnvironment, client_environment, overriding_names
from serai.kernel.instance import read_admin_key
from serai.kernel.settings import Settings, local_origin


class NoServer(click.ClickException):
    """There is no server, or no key for it."""

    exit_code = 125


class NotExecutable(click.ClickException):
    """The command exists but cannot be run, as a shell reports it."""

    exit_code = 126


class NotFound(click.ClickException):
    """There is no such command, as a shell reports it."""

    exit_code = 127


@click.command("env")
@common_options
@click.option("--workspace", metavar="NAME", help="Workspace of the client.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object of the variables.")
@click.option("--shell", "as_json", flag_value=False, help="Print shell lines (the default).")
def env_command(as_json: bool, workspace: str | None, **flags: str | None) -> None:
    """Print the environment that connects clients to the server.

    \b
    Use it as:  eval "$(serai env)"

    It also unsets variables that would send a client to the hosted service. The output contains
    the API key.
    """
    environment = _environment(load_settings(workspace=workspace, **flags), flags, workspace)
    click.echo(json.dumps(environment.set) if as_json else environment.shell())


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@common_options
@click.option("--workspace", metavar="NAME", help="Workspace of the client.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_command(command: tuple[str, ...], workspace: str | None, **flags: str | None) -> None:
    """Run COMMAND so that the official SDKs and CLI in it talk to the server.

    \b
    Example:  serai exec -- python app.py

    The exit status is the command's; 125 when there is no server to connect to.
    """
    try:
        environment = _environment(load_settings(workspace=workspace, **flags), flags, workspace)
    except click.ClickException as error:
        raise NoServer(error.format_message()) from error
    _warn_about_files(environment)
    _replace_process(command, environment)


def _environment(
    settings: Settings, flags: dict[str, str | None], workspace: str | None
) -> ClientEnvironment:
    found = running_instance(settings)
    if found is None:
        raise click.ClickException(not_running_message(settings))
    named = flags["host"] is not None or flags["port"] is not None
    local = local_origin(settings.host, settings.port) if named else found.local_url
    key = settings.admin_api_key or read_admin_key(settings.data_dir)
    if key is None:
        raise click.ClickException(
            f"no API key to give to the client: this user cannot read one in "
            f"{settings.data_dir}. Set SERAI_ADMIN_API_KEY to a key of the server."
        )
    try:
        return client_environment(
            origin=local if named else found.url,
            proxy=local,
            api_key=key,
            workspace=workspace or os.environ.get("SERAI_WORKSPACE") or found.workspace,
            data_dir=settings.data_dir,
            environ=os.environ,
        )
    except OSError as error:
        raise click.ClickException(f"cannot read the server's certificates: {error}") from error


def _warn_about_files(environment: ClientEnvironment) -> None:
    names = overriding_names(Path.cwd(), environment.set)
    if names:
        click.echo(
            f"serai: .env or blaxel.toml in this directory sets {', '.join(names)}; the "
            f"TypeScript SDK prefers these files to the environment that Serai gives it.",
            err=True,
        )


def _replace_process(command: tuple[str, ...], environment: ClientEnvironment) -> None:
    environ = environment.apply(os.environ)
    try:
        os.execvpe(command[0], command, environ)  # noqa: S606
    except FileNotFoundError as error:
        raise NotFound(f"{command[0]}: command not found") from error
    except OSError as error:
        raise NotExecutable(f"{command[0]}: {error.strerror}") from error
