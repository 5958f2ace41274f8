"""``python -m serai.sandboxd``: the API of this machine itself, without isolation."""

import argparse
import os
import socket

from serai.sandboxd.main import preload, serve
from serai.sandboxd.processes import Limits


def _listen(path: str) -> socket.socket:
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    os.chmod(path, 0o600)
    listener.listen(1024)
    return listener


def _arguments() -> argparse.Namespace:
    defaults = Limits()
    parser = argparse.ArgumentParser(prog="python -m serai.sandboxd", description=__doc__)
    parser.add_argument("--api-socket", required=True, help="Unix socket to make for HTTP")
    parser.add_argument("--port-socket", required=True, help="Unix socket to make for raw TCP")
    parser.add_argument("--home", default=os.environ.get("HOME", "/root"))
    parser.add_argument("--workdir", default=os.environ.get("WORKDIR", os.getcwd()))
    parser.add_argument(
        "--stop-grace",
        type=float,
        default=defaults.stop_grace,
        help="seconds between asking a process to end and killing it",
    )
    parser.add_argument(
        "--keepalive",
        type=float,
        default=defaults.keepalive,
        help="seconds of silence after which a stream says it is alive",
    )
    parser.add_argument(
        "--stdin-wait",
        type=float,
        default=defaults.stdin_wait,
        help="seconds a command may leave its input unread",
    )
    parser.add_argument(
        "--terminal-idle",
        type=float,
        default=defaults.terminal_idle,
        help="seconds that a terminal is kept which nobody watches",
    )
    parser.add_argument(
        "--successors", default="", help="directory of versions that may replace this one"
    )
    return parser.parse_args()


def main() -> None:
    """Bind both sockets and serve."""
    arguments = _arguments()
    preload()
    serve(
        _listen(arguments.api_socket),
        _listen(arguments.port_socket),
        {
            "id": "local",
            "hostname": socket.gethostname(),
            "environment": {**os.environ, "HOME": arguments.home},
            "home": arguments.home,
            "workdir": arguments.workdir,
            "successors": arguments.successors,
            "limits": Limits(
                stop_grace=arguments.stop_grace,
                keepalive=arguments.keepalive,
                stdin_wait=arguments.stdin_wait,
                terminal_idle=arguments.terminal_idle,
            ),
        },
    )


if __name__ == "__main__":
    main()
