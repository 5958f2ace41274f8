"""Refuses to make a wheel without the built console."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STATIC = "src/serai/console/static"


class ConsoleHook(BuildHookInterface[Any]):
    """Called by hatchling for every build; an editable one uses whatever the checkout has."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Look whether it is there.

        Raises:
            RuntimeError: the console was not built.
        """
        if self.target_name != "wheel" or version == "editable":
            return
        if not (Path(self.root) / STATIC / "index.html").is_file():
            raise RuntimeError(f"{STATIC} has no console: run `make console` first.")
