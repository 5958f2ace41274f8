"""`serai up`: run the server in the foreground."""

import errno
import gc
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import NoReturn, cast

import click

from serai.cli.options import common_options, load_settings
from serai.kernel import instance
from serai.kernel.instance import AlreadyRunning, DataDirectoryError, DataDirectoryLock
from serai.kernel.settings import Settings


@click.command("up")
@common_options
@click.option("--workspace", metavar="NAME", help="Workspace made on first start.  [default: main]")
@click.option("--public-url", metavar="URL", help="Origin by which clients reach the server.")
@click.option("--https", "tls", flag_value="auto", help="Serve HTTPS; the same as --tls auto.")
@click.option(
    "--tls",
    metavar="auto|CERT:KEY",
    help="Serve HTTPS with a certificate of the local authority (see serai ca), or of these files.",
)
@click.option(
    "--preview-domain",
    metavar="DOMAIN",
    help="Domain below which each preview has a name of its own, or off.  "
    "[default: preview.localhost on this machine]",
)
@click.option("--log-format", metavar="FORMAT", help="console or json.  [default: console]")
@click.option(
    "--log-level", metavar="LEVEL", help="debug, info, warning or error.  [default: info]"
)
@click.option(
    "--runtime",
    metavar="NAME",
    help="Driver of new sandboxes: auto, embedded, runc, crun, runsc, bwrap, docker or podman.  "
    "[default: auto]",
)
def up_command(**flags: str | bool | None) -> None:
    """Start the server and serve until SIGINT or SIGTERM.

    The first start creates the data directory, an account, a workspace, an admin and an API key,
    and prints how to connect.
    """
    settings = load_settings(**flags)
    try:
        instance.prepare_data_dir(settings.data_dir)
        lock = DataDirectoryLock(settings.data_dir)
    except (DataDirectoryError, AlreadyRunning) as error:
        raise click.ClickException(str(error)) from error
    try:
        sys.exit(_serve(settings))
    finally:
        lock.release()


def _serve(settings: Settings) -> int:
    instance.withdraw(settings.data_dir)
    check_port(settings.host, settings.port)
    run = _load()
    signal.signal(signal.SIGTERM, _stop)
    try:
        return run(settings)
    except KeyboardInterrupt:
        return 0
    finally:
        instance.withdraw(settings.data_dir)


def _load() -> Callable[[Settings], int]:
    """Import the server, without what it does not use.

    Garbage is not looked for meanwhile, nor later in what was imported: there is hardly any, and
    looking takes long.
    """
    gc.disable()
    # Libraries import these for coloured tracebacks, if they are installed. Ours are plain.
    for name in ("rich", "pygments"):
        sys.modules.setdefault(name, cast(ModuleType, None))
    from serai.app import run

    gc.freeze()
    gc.enable()
    return run


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """End with a clean-up where SIGTERM is not handled: before the server runs, and after it.

    uvicorn raises the signal again once it has stopped; without this it would kill us there.
    """
    sys.exit(0)


def check_port(host: str, port: int) -> None:
    """Find out before anything starts that the address cannot be listened on.

    Raises:
        click.ClickException: it is taken, not allowed, or not this machine's.
    """
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        raise click.ClickException(_port_problem(host, port, error)) from error


def _port_problem(host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"the host {host!r} is not an address of this machine: {error.strerror}; see --host."
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is used by another program. "
            f"Choose another port: serai up --port {port + 1 if port < 65535 else 8080}"
        )
    if error.errno == errno.EACCES:
        return f"this user may not listen on port {port}; choose one above 1023 with --port."
    return f"cannot listen on {host} port {port}: {error.strerror}; see --host and --port."
