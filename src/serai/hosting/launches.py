"""From the settings of a revision to what an instance of it is started with."""

from collections.abc import Mapping
from typing import Any

import msgspec

from serai.resources.kind import Body, Kind
from serai.runtime.port import ImageConfig

PORT = 8080
"""Where a program listens whose settings and image name no port."""
MEMORY_MB = 2048
SCALE_MAX = 10
"""The most instances of a revision that names no ``maxScale``."""
TYPES = {"agent": "agent", "function": "function", "application": "application"}


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance of a revision is.

    Attributes:
        image: as the workspace names it; empty for none yet.
        memory_mb: its limit in MiB.
        environment: the variables of the settings, secrets in clear.
        command: words to run instead of the image's own; empty for those.
        port: where it must listen; 0 leaves that to the image.
        least: instances that are always there.
        most: instances that there may be.
        volumes: attachments, as the settings have them.
    """

    image: str
    memory_mb: int = MEMORY_MB
    environment: Mapping[str, str] = {}
    command: tuple[str, ...] = ()
    port: int = 0
    least: int = 0
    most: int = SCALE_MAX
    volumes: tuple[Body, ...] = ()


def launch_of(kind: Kind, spec: Body) -> Launch:
    """What the settings of a revision, secrets in clear, ask for."""
    holder: Body = spec if kind.name == "application" else spec.get("runtime") or {}
    ports = holder.get("ports") or []
    volumes = tuple(spec.get("volumes") or ())
    least = holder.get("minScale") or 0
    most = holder.get("maxScale") or max(SCALE_MAX, least)
    return Launch(
        image=holder.get("image") or "",
        memory_mb=holder.get("memory") or MEMORY_MB,
        environment={each["name"]: each.get("value") or "" for each in holder.get("envs") or []},
        command=tuple(holder.get("command") or ()),
        port=int(holder.get("port") or (ports[0]["target"] if ports else 0)),
        least=min(least, 1) if volumes else least,
        most=1 if volumes else most,
        volumes=volumes,
    )


def port_of(launch: Launch, config: ImageConfig) -> int:
    """Where an instance must listen: settings before the image, and a usual port at last."""
    declared = config.ports[0] if len(config.ports) == 1 else PORT
    return launch.port or declared


def command_of(launch: Launch, config: ImageConfig) -> tuple[str, ...]:
    """The words that start an instance; empty when nobody says."""
    return launch.command or (*config.entrypoint, *config.cmd)


def environment_of(
    launch: Launch, config: ImageConfig, port: int, platform: Mapping[str, str]
) -> dict[str, str]:
    """Variables of an instance: the image's, then the settings', then the platform's."""
    placed: dict[str, Any] = {"HOST": "0.0.0.0", "PORT": str(port)}  # noqa: S104 - in its box
    return {**config.env, **launch.environment, **platform, **placed}
