"""Where settings come from: flags, then ``SERAI_*`` variables, then ``serai.toml``."""

import difflib
import ipaddress
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from email.utils import parseaddr
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from serai.kernel.addresses import NO_DOMAIN
from serai.kernel.collectors import checked_fields, collector_url
from serai.kernel.directories import default_data_dir, usable_path
from serai.kernel.settings import AUTO, Settings
from serai.kernel.smtp import parse_smtp_url

FILE = "serai.toml"
PREFIX = "SERAI_"
SECONDS_MAX = 86_400
SECRET = frozenset(
    {"admin_api_key", "oidc_client_secret", "otlp_headers", "smtp_url"}
    | {"logs_database_url", "usage_database_url"}
)
"""Settings whose values no message may show."""
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252})")
_REGISTRY = re.compile(r"(http://)?[A-Za-z0-9][A-Za-z0-9.-]{0,252}(:[0-9]{1,5})?")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,180}}$){_LABEL}(?:\.{_LABEL})+")
_WORKSPACE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_BOOLEANS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


class ConfigurationError(Exception):
    """A setting is unknown or has a value we cannot use; the message names source and fix."""


class Value(NamedTuple):
    """A setting as found, with the place to name when it is wrong."""

    raw: Any
    source: str


def load(flags: Mapping[str, Any], environ: Mapping[str, str], directory: Path) -> Settings:
    """Merge all sources into the settings of one process.

    Args:
        flags: command-line values by setting name; None means not given.
        environ: the environment, for ``SERAI_*``, ``XDG_DATA_HOME`` and ``HOME``.
        directory: working directory: relative paths start here and its ``serai.toml`` is read.
            The data directory's ``serai.toml`` is read too, and stands below it.

    Raises:
        ConfigurationError: an unknown key, a value of the wrong type or out of range, or a
            ``serai.toml`` that is no TOML.
    """
    found = _file_values(directory / FILE)
    found |= _environment_values(environ)
    found |= _flag_values(flags)
    data_dir = _data_dir(found.get("data_dir"), environ, directory)
    if data_dir != directory:
        found = _data_dir_values(data_dir / FILE) | found
    values = {name: _parse(name, value) for name, value in found.items() if name != "data_dir"}
    settings = Settings(data_dir=data_dir, **values)
    _check_upstream(settings)
    if settings.tls is not None and settings.origin.startswith("http:"):
        raise ConfigurationError("tls needs a public_url that begins with https://")
    if settings.smtp_url is not None and settings.mail_from is None:
        raise ConfigurationError("smtp_url needs mail_from: the address that mail comes from")
    return settings


def _check_upstream(settings: Settings) -> None:
    """Refuse settings of an upstream provider that only make sense together."""
    if (settings.oidc_issuer is None) != (settings.oidc_client_id is None):
        raise ConfigurationError("oidc_issuer and oidc_client_id are needed together")
    if settings.oidc_auto_create and not settings.oidc_allowed_domains:
        raise ConfigurationError(
            "oidc_auto_create needs oidc_allowed_domains: without, everybody whom the provider "
            "knows would become a member"
        )


def workspace_name(text: str) -> str:
    """Check a workspace name: at most 49 of ``a-z``, ``0-9`` and single inner hyphens.

    Raises:
        ValueError: the name breaks the rule.
    """
    if len(text) > 49 or not _WORKSPACE.fullmatch(text):
        raise ValueError(
            "must be 1 to 49 characters: lower-case letters, digits and single hyphens between them"
        )
    return text


def _file_values(path: Path) -> dict[str, Value]:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error
    for key in content:
        if key not in _PARSERS:
            raise ConfigurationError(f"{path} has the unknown key {key!r}{_suggestion(key)}")
    return {
        key: Value(_from_file(key, raw, path.parent), f"{key} in {path}")
        for key, raw in content.items()
    }


def _from_file(key: str, raw: Any, directory: Path) -> Any:
    """A data directory in a file is relative to that file, not to who reads it."""
    if key == "data_dir" and isinstance(raw, str):
        return str(directory / Path(raw).expanduser())
    return raw


def _data_dir_values(path: Path) -> dict[str, Value]:
    values = _file_values(path)
    if "data_dir" in values:
        raise ConfigurationError(f"{path} sets data_dir, but it lies in the data directory itself")
    return values


def _environment_values(environ: Mapping[str, str]) -> dict[str, Value]:
    names = ((name, PREFIX + name.upper()) for name in _PARSERS)
    return {
        name: Value(environ[variable], variable)
        for name, variable in names
        if environ.get(variable)
    }


def _flag_values(flags: Mapping[str, Any]) -> dict[str, Value]:
    return {
        name: Value(raw, "--" + name.replace("_", "-"))
        for name, raw in flags.items()
        if raw is not None
    }


def _data_dir(value: Value | None, environ: Mapping[str, str], directory: Path) -> Path:
    if value is None:
        return default_data_dir(environ)
    path = usable_path(value.raw)
    if path is None:
        raise ConfigurationError(f"{value.source} is {value.raw!r}: must be a directory's path")
    return directory / path


def _parse(name: str, value: Value) -> Any:
    try:
        return _PARSERS[name](value.raw)
    except ValueError as error:
        shown = "…" if name in SECRET else repr(value.raw)
        raise ConfigurationError(f"{value.source} is {shown}: {error}") from error


def _suggestion(key: str) -> str:
    close = difflib.get_close_matches(key, _PARSERS, n=1)
    known = ", ".join(sorted(_PARSERS))
    return f"; did you mean {close[0]!r}?" if close else f"; the known keys are {known}"


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def parse(raw: Any) -> int:
        number = int(raw) if isinstance(raw, str) and re.fullmatch(r"\d{1,18}", raw) else raw
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return number

    return parse


def _seconds(raw: Any) -> float:
    """A part of a second is of use for tests."""
    try:
        seconds = float("nan" if isinstance(raw, bool) else raw)
    except (TypeError, ValueError):
        seconds = math.nan
    if not (seconds == 0 or 0.1 <= seconds <= SECONDS_MAX):
        raise ValueError(f"must be a number of seconds from 0.1 to {SECONDS_MAX}, or 0 for never")
    return seconds


def _share(raw: Any) -> float:
    try:
        share = float("nan" if isinstance(raw, bool) else raw)
    except (TypeError, ValueError):
        share = math.nan
    if not 0 <= share <= 1:
        raise ValueError("must be a number from 0 to 1, such as 0.1 for every tenth")
    return share


def _choice(*allowed: str) -> Callable[[Any], str]:
    def parse(raw: Any) -> str:
        if not isinstance(raw, str) or raw.lower() not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return raw.lower()

    return parse


def _boolean(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    if not isinstance(raw, str) or raw.lower() not in _BOOLEANS:
        raise ValueError("must be true or false")
    return _BOOLEANS[raw.lower()]


def _text(check: Callable[[str], str]) -> Callable[[Any], str]:
    def parse(raw: Any) -> str:
        if not isinstance(raw, str):
            raise ValueError("must be text")
        return check(raw)

    return parse


def _host(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        if not _HOSTNAME.fullmatch(text):
            raise ValueError("must be an IP address or a host name, without port") from None
        return text


def _tls(text: str) -> str:
    certificate, colon, key = text.partition(":")
    if text != AUTO and not (certificate and colon and key and ":" not in key):
        raise ValueError("must be auto, or CERT:KEY, the files of a certificate and its key")
    return text


def _preview_domain(text: str) -> str:
    domain = text.lower().rstrip(".")
    if domain != NO_DOMAIN and not _DOMAIN.fullmatch(domain):
        raise ValueError("must be a domain such as preview.example.com, without port, or off")
    return domain


def _public_url(text: str) -> str:
    parts = urlsplit(text)
    port_is_good = parts.port is None or parts.port > 0  # .port raises ValueError when malformed
    plain = parts.path in {"", "/"} and not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not plain or not port_is_good:
        raise ValueError("must be an origin such as https://serai.example.com, without a path")
    return text.rstrip("/")


def _api_key(text: str) -> str:
    if not re.fullmatch(r"[!-~]{1,512}", text):
        raise ValueError("must be 1 to 512 printable ASCII characters without spaces")
    return text


def _issuer(text: str) -> str:
    parts = urlsplit(text)
    local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    plain = not (parts.query or parts.fragment or "@" in parts.netloc)
    if not parts.hostname or not plain or parts.scheme not in {"https", *(["http"] * local)}:
        raise ValueError(
            "must be the provider's issuer, an https URL such as https://login.example.com/realms/x"
        )
    return text


def _label(text: str) -> str:
    if not 0 < len(text.strip()) <= 60 or not text.isprintable():
        raise ValueError("must be 1 to 60 printable characters")
    return text.strip()


def _words(raw: Any) -> Any:
    """A list in a file; in a variable words between commas or spaces."""
    return re.split(r"[\s,]+", raw.strip()) if isinstance(raw, str) else raw


def _domains(raw: Any) -> tuple[str, ...]:
    words = _words(raw)
    if not isinstance(words, list) or not all(
        isinstance(word, str) and _HOSTNAME.fullmatch(word) for word in words
    ):
        raise ValueError("must be domains such as example.com, separated by commas")
    return tuple(word.lower() for word in words)


def _registries(raw: Any) -> tuple[str, ...]:
    words = _words(raw)
    if not isinstance(words, list) or not all(
        isinstance(word, str) and (word in {"*", "none"} or _REGISTRY.fullmatch(word))
        for word in words
    ):
        raise ValueError(
            "must be hosts such as docker.io or http://127.0.0.1:5000, separated by commas; * for "
            "every host, none for no host"
        )
    return tuple(word.lower() for word in words if word != "none")


def _mirror(text: str) -> str:
    if urlsplit(text).scheme not in {"http", "https"} or not text.isprintable() or " " in text:
        raise ValueError("must be a URL such as http://mirror.example.com/debian")
    return text


def _postgresql_url(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if scheme not in {"postgresql", "postgres"} or not separator or not rest.isprintable():
        raise ValueError("must be a PostgreSQL URL such as postgresql://user:password@host/name")
    return text


def _smtp_url(text: str) -> str:
    parse_smtp_url(text)
    return text


def _mail_from(text: str) -> str:
    address = parseaddr(text)[1]
    if not re.fullmatch(r"[^@\s<>]+@[^@\s<>]+", address) or not text.isprintable():
        raise ValueError("must be an address such as serai@example.com, or Serai <serai@…>")
    return text


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "data_dir": str,
    "host": _text(_host),
    "port": _integer(1, 65535),
    "workspace": _text(workspace_name),
    "admin_api_key": _text(_api_key),
    "public_url": _text(_public_url),
    "tls": _text(_tls),
    "preview_domain": _text(_preview_domain),
    "banner": _boolean,
    "log_format": _choice("console", "json"),
    "log_level": _choice("debug", "info", "warning", "error"),
    "max_body_bytes": _integer(1024, 1 << 40),
    "reusable_device_tokens": _boolean,
    "oidc_issuer": _text(_issuer),
    "oidc_client_id": _text(_api_key),
    "oidc_client_secret": _text(_api_key),
    "oidc_label": _text(_label),
    "oidc_allowed_domains": _domains,
    "oidc_auto_create": _boolean,
    "smtp_url": _text(_smtp_url),
    "mail_from": _text(_mail_from),
    "private_webhooks": _boolean,
    "usage_database_url": _text(_postgresql_url),
    "usage_event_retention": _integer(8, 3660),
    "model_request_rate": _integer(0, 100_000),
    "model_request_retention": _integer(1, 3660),
    "log_rate": _integer(1, 1_000_000),
    "log_retention": _integer(1, 3660),
    "log_mb": _integer(0, 1 << 30),
    "logs_database_url": _text(_postgresql_url),
    "otlp_endpoint": _text(collector_url),
    "otlp_headers": _text(checked_fields),
    "otlp_sampling": _share,
    "runtime": _choice("auto", "embedded", "runc", "crun", "runsc", "bwrap", "docker", "podman"),
    "standby_seconds": _seconds,
    "on_stop": _choice("end", "suspend"),
    "pool_mb": _integer(0, 1 << 30),
    "model_cache_mb": _integer(0, 1 << 20),
    "sandbox_disk_mb": _integer(16, 1 << 30),
    "image_source": _choice("auto", "built", "host"),
    "image_registries": _registries,
    "image_mirror": _text(_mirror),
    "build_slots": _integer(1, 64),
    "build_seconds": _integer(1, 86_400),
    "build_memory_mb": _integer(128, 1 << 20),
    "build_disk_mb": _integer(16, 1 << 30),
    "build_upload_mb": _integer(1, 1 << 20),
    "build_hosts": _domains,
    "builds_kept": _integer(1, 1000),
    "dockerfile_builds": _choice("engine", "offline", "off"),
    "unenforced_volumes": _boolean,
    "start_seconds": _seconds,
    "instance_concurrency": _integer(1, 100_000),
    "instance_stop_seconds": _seconds,
    "async_calls": _integer(1, 10_000),
    "private_callbacks": _boolean,
    "job_tasks": _integer(0, 10_000),
    "s3_port": _integer(0, 65535),
}
