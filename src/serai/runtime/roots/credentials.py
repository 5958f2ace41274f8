"""Credentials of registries, from the files and helpers that Docker's clients use."""

import base64
import binascii
import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

_DOCKER_HUB = ("docker.io", "https://index.docker.io/v1/", "index.docker.io")
_HELPER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SECONDS = 20


class Login(msgspec.Struct, frozen=True):
    """A user and a password; with an identity token, that instead of both."""

    user: str = ""
    password: str = ""
    token: str = ""


class Logins:
    """Looks in ``files`` in order; each has the shape of Docker's ``config.json``."""

    def __init__(self, files: list[Path]) -> None:
        self._files = files

    @classmethod
    def usual(cls, data_dir: Path, environ: Mapping[str, str]) -> "Logins":
        """Our own file in the data directory, then Docker's, then Podman's."""
        home = Path(environ.get("HOME") or "/nonexistent")
        docker = Path(environ.get("DOCKER_CONFIG") or home / ".docker")
        files = [data_dir / "registries.json", docker / "config.json"]
        if podman := environ.get("REGISTRY_AUTH_FILE"):
            files.append(Path(podman))
        return cls(files)

    def find(self, registry: str) -> Login | None:
        """The login for a registry, if there is one. Blocks: it may run a helper."""
        for content in self._contents():
            for name in _names(registry):
                found = _from_helper(content, name) or _from_file(content, name)
                if found is not None:
                    return found
        return None

    def _contents(self) -> Iterator[dict[str, Any]]:
        for path in self._files:
            with contextlib.suppress(OSError, ValueError):
                content = json.loads(path.read_text())
                if isinstance(content, dict):
                    yield content


def _names(registry: str) -> tuple[str, ...]:
    if registry == "docker.io":
        return _DOCKER_HUB
    return (registry, f"https://{registry}", f"https://{registry}/v2/", f"http://{registry}")


def _from_file(content: dict[str, Any], name: str) -> Login | None:
    entry = (content.get("auths") or {}).get(name)
    if not isinstance(entry, dict):
        return None
    if token := entry.get("identitytoken"):
        return Login(token=str(token))
    if "username" in entry:
        return Login(str(entry["username"]), str(entry.get("password") or ""))
    with contextlib.suppress(binascii.Error, UnicodeDecodeError):
        user, colon, password = (
            base64.b64decode(str(entry.get("auth") or "")).decode().partition(":")
        )
        if colon:
            return Login(user, password.rstrip("\0"))
    return None


def _from_helper(content: dict[str, Any], name: str) -> Login | None:
    helper = (content.get("credHelpers") or {}).get(name) or content.get("credsStore")
    if not isinstance(helper, str) or not _HELPER.fullmatch(helper):
        return None
    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", "get"],
            input=name.encode(),
            capture_output=True,
            timeout=_SECONDS,
            check=True,
            env=dict(os.environ),
        )
        said = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if said.get("Username") == "<token>":
        return Login(token=str(said.get("Secret") or ""))
    return Login(str(said.get("Username") or ""), str(said.get("Secret") or ""))
