"""What the operator decides about images, and what was decided for one sandbox."""

import shlex
from typing import Any

import msgspec

from serai.runtime import image as host
from serai.runtime.roots.names import place_of
from serai.runtime.roots.problems import ImageProblem
from serai.runtime.roots.records import ImageConfig

REGISTRIES = ("docker.io", "ghcr.io", "quay.io")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What a sandbox runs on; without layers on the host's own files.

    ``over`` are directories in the form of saved files (see ``rootfs``), the topmost first, that
    lie over the host's own.
    """

    layers: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    config: ImageConfig = ImageConfig(workdir="/blaxel")

    def environment(self, hostname: str) -> dict[str, str]:
        """Variables every process starts with, before the sandbox's own."""
        if not self.layers:
            return {**host.environment(hostname), **self.config.environment}
        usual = {"PATH": _PATH, "HOME": self.config.home or "/root", "USER": "root"}
        return {**usual, "HOSTNAME": hostname, "LANG": "C.UTF-8", **self.config.environment}

    def services(self) -> tuple[dict[str, Any], ...]:
        """What the sandbox starts by itself: the services of a recipe, or an entry point.

        An entry point that is the API of the hosted service is left out: ours is there already.
        """
        found = [msgspec.to_builtins(service) for service in self.config.services]
        entry = self.config.entrypoint
        if entry and not entry[0].endswith("/sandbox-api"):
            command = shlex.join((*entry, *self.config.command))
            place = {"working_dir": self.config.workdir, "ports": [], "restarts": 0}
            found.append({"name": "entrypoint", "command": command, **place})
        return tuple(found)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's settings.

    Attributes:
        source: ``auto``, ``built`` or ``host``; see the module.
        registries: hosts that images are pulled from for whoever asks; ``*`` for every host;
            with ``http://`` before it a host is spoken to without TLS.
        mirror: a Debian mirror for builds.
    """

    source: str = "auto"
    registries: tuple[str, ...] = REGISTRIES
    mirror: str = ""

    def allows(self, reference: str) -> bool:
        """Whether a reference names an image in a registry that sandboxes may be made of."""
        try:
            place = place_of(reference)
        except ImageProblem:
            return False
        allowed = {each.removeprefix("http://") for each in self.registries}
        return place is not None and bool({"*", place.registry} & allowed)
