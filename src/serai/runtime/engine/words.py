"""What we say about an engine, and to whoever has none."""

from typing import Any


def describe(engine: str, version: dict[str, Any], options: str) -> str:
    weaker = (
        ""
        if "userns" in options or "rootless" in options
        else (
            "; DEGRADED: root inside is the host's root with few capabilities, because the engine "
            "maps no users (userns-remap, or a rootless engine)"
        )
    )
    return (
        f"{engine} {version.get('Version', '')}: a container, seccomp, dropped capabilities, no "
        f"network, limits by the engine{weaker}"
    )


def install(engine: str) -> str:
    if engine == "docker":
        return "apt install docker.io and start it, or set DOCKER_HOST=unix:///its/socket"
    return (
        "apt install podman and run `podman system service -t 0`, "
        "or set CONTAINER_HOST=unix:///its/socket"
    )
