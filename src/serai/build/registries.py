"""Where this machine gets packages from, told to rooms without its passwords for that."""

import base64
import configparser
import contextlib
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from serai.egress.policy import Route

_PIP = {"index-url": "PIP_INDEX_URL", "extra-index-url": "PIP_EXTRA_INDEX_URL"}
_URLS = (
    *_PIP.values(),
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "NPM_CONFIG_REGISTRY",
)
_TOKEN = re.compile(r"//([^/\s=]+)(?:/[^\s=]*)?:(_authToken|_auth)\s*=\s*(\S+)")


class Registries(msgspec.Struct, frozen=True, kw_only=True):
    """Variables for package managers, names (and ports) they lead to, and credentials by name."""

    environment: dict[str, str] = {}
    hosts: tuple[str, ...] = ()
    places: tuple[tuple[str, int], ...] = ()
    routes: tuple[Route, ...] = ()


def registries(environ: Mapping[str, str], home: Path) -> Registries:
    """What variables and the files of pip and npm say, of the user that the platform runs as."""
    values = _from_pip(home) | _from_npm(home)
    values |= {name.upper(): environ[name] for name in environ if name.upper() in _URLS}
    places: list[tuple[str, int]] = []
    logins: dict[str, str] = _npm_logins(home)
    shown: dict[str, str] = {}
    for name, value in values.items():
        plain = [_without_login(url, places, logins) for url in value.split()]
        usable = [url for url in plain if url]
        if usable:
            shown[name] = " ".join(usable)
    if "PIP_INDEX_URL" in shown:
        shown.setdefault("UV_DEFAULT_INDEX", shown["PIP_INDEX_URL"])
    if "PIP_EXTRA_INDEX_URL" in shown:
        shown.setdefault("UV_INDEX", shown["PIP_EXTRA_INDEX_URL"])
    if "NPM_CONFIG_REGISTRY" in shown:
        shown["npm_config_registry"] = shown.pop("NPM_CONFIG_REGISTRY")
        shown["YARN_NPM_REGISTRY_SERVER"] = shown["npm_config_registry"]
    routes = (
        Route(destinations=(host,), headers={"Authorization": value})
        for host, value in sorted(logins.items())
    )
    return Registries(
        environment=shown,
        hosts=tuple(dict.fromkeys(host for host, _ in places)),
        places=tuple(dict.fromkeys(places)),
        routes=tuple(routes),
    )


def usual_places() -> tuple[tuple[str, int], ...]:
    """Where pip and npm of this machine look when nobody has told them otherwise.

    Takes a moment, as npm is asked; without one of them its places are left out.
    """
    urls: list[str] = []
    with contextlib.suppress(ImportError):
        from pip._internal.models.index import PyPI  # the only place where pip says it

        urls += [PyPI.url, f"https://{PyPI.file_storage_domain}"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = ["npm", "config", "get", "registry"]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True)
        urls.append(said.stdout.strip())
    places: list[tuple[str, int]] = []
    for url in urls:
        _without_login(url, places, {})
    return tuple(dict.fromkeys(places))


def _without_login(url: str, places: list[tuple[str, int]], logins: dict[str, str]) -> str:
    """The URL without user and password, which are noted by host; empty for what is no URL."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return ""
    try:
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except ValueError:
        return ""
    places.append((parts.hostname, port))
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        logins[parts.hostname] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, place, parts.path, parts.query, ""))


def _from_pip(home: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    places = (
        Path("/etc/pip.conf"),
        home / ".pip/pip.conf",
        home / ".config/pip/pip.conf",
        Path(os.environ.get("PIP_CONFIG_FILE") or os.devnull),
    )
    for place in places:
        try:
            parser.read_string(place.read_text())
        except (OSError, ValueError, configparser.Error):
            continue
    found: dict[str, str] = {}
    for section in ("global", "install"):
        for option, name in _PIP.items():
            if parser.has_option(section, option):
                found[name] = " ".join(parser.get(section, option).split())
    return found


def _from_npm(home: Path) -> dict[str, str]:
    for line in _npm_lines(home):
        name, mark, value = line.partition("=")
        if mark and name.strip() == "registry":
            return {"NPM_CONFIG_REGISTRY": value.strip().strip("\"'")}
    return {}


def _npm_logins(home: Path) -> dict[str, str]:
    found = {}
    for line in _npm_lines(home):
        match = _TOKEN.match(line.strip())
        if match is not None:
            kind = "Bearer" if match[2] == "_authToken" else "Basic"
            found[match[1].partition(":")[0]] = f"{kind} {match[3].strip(chr(34))}"
    return found


def _npm_lines(home: Path) -> Iterable[str]:
    for place in (home / ".npmrc", Path("/etc/npmrc")):
        try:
            yield from place.read_text().splitlines()
        except (OSError, ValueError):
            continue
