"""The environment in which unmodified clients of the hosted service talk to this server.

Two kinds of client exist. Those that read ``BL_API_URL`` and ``BL_RUN_URL`` are sent to our port
directly. Those with built-in host names reach us through ``HTTPS_PROXY`` and trust our local
authority through the variables that TLS libraries read.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from serai.connect import trust
from serai.connect.hashed import hashed_directory
from serai.connect.hosts import is_hosted, without_bypasses

REGION = "us-pdx-1"
_CLIENT_CREDENTIALS = "BL_CLIENT_CREDENTIALS"
_NEVER_KEPT = (
    "BL_ENV",  # any value but "prod" selects other hosts
    "BL_GENERATION",  # with the next two: internal host names of the hosted service
    "BL_RUN_INTERNAL_HOST",
    "BL_RUN_INTERNAL_PROTOCOL",
)
_CLIENT_PREFIXES = ("BL_", "BLAXEL_", "OTEL_")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DOTENV_LINE = re.compile(r"^\s*(?:export\s+)?(BL_[A-Z0-9_]+)\s*[=:]", re.M)


class ClientEnvironment(NamedTuple):
    """What to set and what to remove before a client starts."""

    set: dict[str, str]
    unset: list[str]

    def apply(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of the client."""
        kept = {name: value for name, value in environ.items() if name not in self.unset}
        return kept | self.set

    def shell(self) -> str:
        """Lines for ``eval`` in any POSIX shell; values are quoted where they need it."""
        unset = [f"unset {name}" for name in self.unset]
        return "\n".join([*unset, *(f"export {k}={shlex.quote(v)}" for k, v in self.set.items())])


def client_environment(
    *,
    origin: str,
    proxy: str,
    api_key: str | None,
    workspace: str | None,
    data_dir: Path,
    environ: Mapping[str, str],
    own_credentials: bool = False,
) -> ClientEnvironment:
    """Everything both kinds of client need.

    Args:
        origin: origin of the server's URLs, without a trailing slash.
        proxy: origin by which a client on this machine reaches the server's port itself.
        api_key: the admin's key, which the client sends as its credential.
        workspace: workspace the client works in; ``None`` to leave that to the client.
        data_dir: the server's data directory, for its trust bundle.
        environ: the client's present environment; what it already trusts and where it goes
            without a proxy is kept.
        own_credentials: the client gets no key but signs in with credentials of its own: from its
            environment, or those that it has stored.

    Raises:
        OSError: the server's certificate files cannot be read.
    """
    trusted = _trusted(trust.bundle_for(data_dir / "ca", environ).resolve(), environ)
    no_proxy = _no_proxy(environ, [origin, proxy])
    values = {
        "BL_API_URL": f"{origin}/v0",
        "BL_RUN_URL": origin,
        "BL_APP_URL": origin,
        **_identity(None if own_credentials else api_key, workspace),
        "BL_REGION": REGION,
        # Else the TypeScript SDK sends the key to any.<region>.bl.run.
        "BL_DISABLE_H2": "1",
        "DO_NOT_TRACK": "1",
        "HTTPS_PROXY": proxy,
        "https_proxy": proxy,
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        **trusted,
    }
    unwanted = _unwanted(environ, values) | (environ.keys() & {trust.FILE} - trusted.keys())
    if not own_credentials:
        unwanted |= environ.keys() & {_CLIENT_CREDENTIALS}  # of the hosted service
    elif environ.get("BL_API_KEY") == api_key:
        unwanted |= environ.keys() & {"BL_API_KEY"}  # set by `serai env` before
    return ClientEnvironment(values, sorted(unwanted))


def overriding_names(directory: Path, values: Mapping[str, str]) -> list[str]:
    """Names among ``values`` that a ``.env`` or ``blaxel.toml`` in the directory sets as well.

    The TypeScript SDK prefers those files to its environment, so they defeat ours.
    """
    text = "\n".join(_text(directory / name) for name in (".env", "blaxel.toml"))
    return sorted({name for name in _DOTENV_LINE.findall(text) if name in values})


def _identity(api_key: str | None, workspace: str | None) -> dict[str, str]:
    named = {"BL_API_KEY": api_key, "BL_WORKSPACE": workspace}
    return {name: value for name, value in named.items() if value is not None}


def _unwanted(environ: Mapping[str, str], values: Mapping[str, str]) -> set[str]:
    """Variables that would send a client, with its credential, to the hosted service."""
    pointing = (name for name, value in environ.items() if _points_to_hosted(name, value))
    unwanted = {*(environ.keys() & set(_NEVER_KEPT)), *pointing} - values.keys()
    return {name for name in unwanted if _NAME.fullmatch(name)}


def _points_to_hosted(name: str, value: str) -> bool:
    """For example ``BL_SANDBOX_X_URL`` or an OTLP endpoint, which get the key as a header."""
    if not name.startswith(_CLIENT_PREFIXES):
        return False
    text = value if "://" in value else f"//{value}"
    try:
        host = urlsplit(text).hostname or ""
    except ValueError:
        return False
    return is_hosted(host.lower().removesuffix("."))


def _trusted(bundle: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that name the bundle; to OpenSSL as a directory, which is read much faster."""
    values = dict.fromkeys(trust.VARIABLES, str(bundle))
    directory = hashed_directory(bundle)
    if directory is not None:
        del values[trust.FILE]
        present = [path for path in environ.get(trust.DIRECTORY, "").split(":") if path]
        values[trust.DIRECTORY] = ":".join(dict.fromkeys([str(directory), *present]))
    return values


def _no_proxy(environ: Mapping[str, str], origins: list[str]) -> str:
    present = f"{environ.get('NO_PROXY', '')},{environ.get('no_proxy', '')}".split(",")
    wanted = ["127.0.0.1", "localhost", *(urlsplit(url).hostname or "" for url in origins)]
    entries = without_bypasses(entry.strip() for entry in [*wanted, *present])
    return ",".join(dict.fromkeys(entry for entry in entries if entry))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""
