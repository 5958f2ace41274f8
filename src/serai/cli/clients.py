"""`serai env` and `serai exec`: connect a client of the hosted service to this server."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def client_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that both commands have."""
    own = click.option(
        "--own-credentials",
        is_flag=True,
        help="Give the client no key: it signs in with yours, that is BL_CLIENT_CREDENTIALS, "
        "BL_API_KEY or what `bl login` stored.",
    )
    workspace = click.option("--workspace", metavar="NAME", help="Workspace of the client.")
    return common_options(workspace(own(command)))


@click.command("env")
@client_options
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object of the variables.")
@click.option("--shell", "as_json", flag_value=False, help="Print shell lines (the default).")
def env_command(
    as_json: bool, own_credentials: bool, workspace: str | None, **flags: str | None
) -> None:
    """Print the environment that connects clients to the server.

    \b
    Use it as:  eval "$(serai env)"

    It also unsets variables that would send a client to the hosted service. The output contains
    the API key, unless the client brings its own credentials.
    """
    settings = load_settings(workspace=workspace, **flags)
    environment = _environment(settings, flags, workspace, own_credentials)
    click.echo(json.dumps(environment.set) if as_json else environment.shell())


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@client_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_command(
    command: tuple[str, ...], own_credentials: bool, workspace: str | None, **flags: str | None
) -> None:
    """Run COMMAND so that the official SDKs and CLI in it talk to the server.

    \b
    Example:  serai exec -- python app.py

    The exit status is the command's; 125 when there is no server to connect to.
    """
    try:
        settings = load_settings(workspace=workspace, **flags)
        environment = _environment(settings, flags, workspace, own_credentials)
    except click.ClickException as error:
        raise NoServer(error.format_message()) from error
    _warn_about_files(environment)
    _replace_process(command, environment)


def _environment(
    settings: Settings, flags: dict[str, str | None], workspace: str | None, own_credentials: bool
) -> ClientEnvironment:
    found = running_instance(settings)
    if found is None:
        raise click.ClickException(not_running_message(settings))
    named = flags["host"] is not None or flags["port"] is not None
    local = local_origin(settings.host, settings.port) if named else found.local_url
    key = settings.admin_api_key or read_admin_key(settings.data_dir)
    workspace = workspace or os.environ.get("SERAI_WORKSPACE")
    if not own_credentials:
        workspace = workspace or found.workspace
    if key is None and not own_credentials:
        raise click.ClickException(
            f"no API key to give to the client: this user cannot read one in "
            f"{settings.data_dir}. Set SERAI_ADMIN_API_KEY to a key of the server, or use your own "
            f"login with --own-credentials."
        )
    try:
        return client_environment(
            origin=local if named else found.url,
            proxy=local,
            api_key=key,
            workspace=workspace,
            data_dir=settings.data_dir,
            environ=os.environ,
            own_credentials=own_credentials,
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
