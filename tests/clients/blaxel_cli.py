"""The official CLI, built by `make clients`, each time with a home directory of its own.

Its processes see the server and nothing else: all other addresses lead to a proxy that is not
there, and the standard input is empty, so nothing can be asked of anybody.
"""

import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import yaml

from platform_server import Server

from .environments import CACHE

PROGRAM = CACHE / "bl" / "bl"
NOWHERE = "http://127.0.0.1:1"
SECONDS = 60


def is_built() -> bool:
    """Whether the real program can be run."""
    return PROGRAM.with_name(".ready").exists()


class Cli:
    """`bl` as one person on one machine has it: a home directory, and a server to talk to."""

    def __init__(self, home: Path, server: Server) -> None:
        self.home = home
        self.home.mkdir()
        self.url = server.url
        self.config_file = home / ".blaxel" / "config.yaml"

    def environ(self, **more: str) -> dict[str, str]:
        """All that the process gets."""
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.home),
            "BL_API_URL": f"{self.url}/v0",
            "BL_RUN_URL": self.url,
            "BL_APP_URL": self.url,
            "DO_NOT_TRACK": "1",
            "HTTP_PROXY": NOWHERE,
            "HTTPS_PROXY": NOWHERE,
            **more,
        }

    def __call__(self, *arguments: str, fails: bool = False, **environ: str) -> str:
        """Run a command to its end and return all that it printed."""
        process = self.start(*arguments, **environ)
        printed = process.communicate(timeout=SECONDS)[0]
        assert "panic:" not in printed, printed
        assert (process.returncode != 0) is fails, f"{arguments} {process.returncode}: {printed}"
        return printed

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Begin a command; both of its outputs are one pipe."""
        return subprocess.Popen(
            [str(PROGRAM), *arguments],
            cwd=self.home,
            env=self.environ(**environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def config(self) -> dict[str, Any]:
        """The configuration file as the CLI has written it."""
        read: dict[str, Any] = yaml.safe_load(self.config_file.read_text())
        return read

    def credentials(self, workspace: str = "main") -> dict[str, Any]:
        """What is stored for a workspace."""
        return credentials_in(self.config, workspace)

    def change(self, workspace: str = "main", **credentials: Any) -> None:
        """Put other values among the stored credentials."""
        config = self.config
        credentials_in(config, workspace).update(credentials)
        self.config_file.write_text(yaml.safe_dump(config))

    def let_token_expire(self, workspace: str = "main") -> None:
        """Make the stored access token one that every client takes for expired."""
        self.change(workspace, access_token=expired(self.credentials(workspace)["access_token"]))


def credentials_in(config: dict[str, Any], workspace: str) -> dict[str, Any]:
    """The credentials of a workspace in a configuration."""
    [found] = [one["credentials"] for one in config["workspaces"] if one["name"] == workspace]
    credentials: dict[str, Any] = found
    return credentials


def claims(token: str) -> dict[str, Any]:
    """What an access token says."""
    payload = token.split(".")[1]
    read: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return read


def expired(token: str) -> str:
    """An access token whose time is over, by what clients read in it; the server refuses it."""
    head, _, signature = token.split(".")
    past = int(time.time()) - 60
    changed = json.dumps(claims(token) | {"iat": past - 7200, "exp": past}).encode()
    return f"{head}.{base64.urlsafe_b64encode(changed).decode().rstrip('=')}.{signature}"
