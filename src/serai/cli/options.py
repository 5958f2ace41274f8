"""Options that all commands share, and how they become settings."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from serai.kernel import instance
from serai.kernel.configuration import ConfigurationError, load
from serai.kernel.instance import Instance
from serai.kernel.settings import Settings

NOT_RUNNING = 3
"""Exit status of `serai status` when there is no server."""


def common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --data-dir, --host, --port and --no-banner, which only `serai up` has a use for."""
    options = (
        click.option(
            "--data-dir",
            metavar="DIR",
            help="Directory of all state.  [default: $XDG_DATA_HOME/serai or ~/.local/share/serai]",
        ),
        click.option(
            "--host", metavar="ADDRESS", help="Address of the server.  [default: 127.0.0.1]"
        ),
        click.option("--port", metavar="PORT", help="Port of the server.  [default: 8080]"),
        click.option(
            "--banner/--no-banner", default=None, help="When ready, print how to connect a client."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def load_settings(**flags: Any) -> Settings:
    """The settings of this call.

    Raises:
        click.UsageError: a setting is wrong; the message names its source and the fix.
    """
    try:
        return load(flags, os.environ, Path.cwd())
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from error


def running_instance(settings: Settings) -> Instance | None:
    """The ready server of the settings' data directory, or None."""
    return instance.read_instance(settings.data_dir)


def not_running_message(settings: Settings) -> str:
    """Why there is nothing to talk to, and what to do."""
    if instance.is_running(settings.data_dir):
        return f"Serai with the data directory {settings.data_dir} is still starting; try again."
    return (
        f"no Serai is running with the data directory {settings.data_dir}. Start it with "
        f"`serai up`, or name the right directory with --data-dir or SERAI_DATA_DIR."
    )
