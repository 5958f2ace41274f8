"""Files by which an operator extends the catalogues: ``catalogue/NAME.toml`` or ``NAME.json``."""

import json
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

from serai.wire.catalog import (
    Integration,
    Location,
    McpDefinition,
    Place,
    PrivateLocation,
    PublicIp,
    SandboxDefinition,
    Template,
)

log = structlog.get_logger(__name__)
Shape = TypeVar("Shape")


class File(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of the files' shapes; keys are spelled as in the API."""


class LocationsFile(File):
    """``locations``: replaces the built-in regions."""

    locations: list[Location] = []
    countries: list[Place] = []
    continents: list[Place] = []
    private_locations: list[PrivateLocation] = []
    detected_region: str | None = None


class PublicIpsFile(File):
    """``public-ips``: addresses by region."""

    public_ips: dict[str, PublicIp] = {}


class McpHubFile(File):
    """``mcp-hub``: MCP servers to offer."""

    servers: list[McpDefinition] = []


class SandboxHubFile(File):
    """``sandbox-hub``: sandboxes to offer besides the runtime's own images."""

    sandboxes: list[SandboxDefinition] = []


class TemplatesFile(File):
    """``templates``: repositories to start from."""

    templates: list[Template] = []


class OwnIntegration(Integration):
    """An integration of the operator's own; ``base_url`` is used when a connection has none."""

    base_url: str | None = None


class IntegrationsFile(File):
    """``integrations``: providers to know besides the built-in ones."""

    integrations: list[OwnIntegration] = []


class CatalogueFiles:
    """Reads the files when they change. A file that cannot be read is logged and passed over."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[str, tuple[tuple[str, int, int] | None, Any]] = {}

    def read(self, name: str, shape: type[Shape]) -> Shape:
        """The content of a file; an empty one when it is absent.

        After a change that makes it unreadable, the last good content stays in use.
        """
        path, stamp = self._find(name)
        before, content = self._known.get(name, (None, None))
        if content is None or stamp != before:
            content = self._load(path, shape, content)
            self._known[name] = (stamp, content)
        fresh: Shape = content
        return fresh

    def _find(self, name: str) -> tuple[Path | None, tuple[str, int, int] | None]:
        for suffix in (".toml", ".json"):
            path = self._directory / f"{name}{suffix}"
            try:
                status = path.stat()
            except OSError:
                continue
            return path, (suffix, status.st_mtime_ns, status.st_size)
        return None, None

    def _load(self, path: Path | None, shape: type[Shape], last: Shape | None) -> Shape:
        if path is None:
            return shape()
        try:
            text = path.read_text()
            raw = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
            return msgspec.convert(raw, shape)
        except (OSError, ValueError, RecursionError) as problem:
            log.error("catalogue_file_unreadable", path=str(path), reason=str(problem)[:500])
            return last if last is not None else shape()
