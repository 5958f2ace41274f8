"""Sandboxes, MCP servers and templates on offer."""

from collections.abc import Callable

from serai.catalog.files import CatalogueFiles, McpHubFile, SandboxHubFile, TemplatesFile
from serai.kernel.errors import NotFound
from serai.wire.catalog import McpDefinition, SandboxDefinition, Template


class Hubs:
    """``provided`` answers the images that the runtime can start."""

    def __init__(
        self, files: CatalogueFiles, provided: Callable[[], list[SandboxDefinition]]
    ) -> None:
        self._files = files
        self._provided = provided

    def sandboxes(self) -> list[SandboxDefinition]:
        """The runtime's own images, and the operator's definitions; those win by name."""
        own = {item.name: item for item in self._provided()}
        listed = self._files.read("sandbox-hub", SandboxHubFile).sandboxes
        return list((own | {item.name: item for item in listed}).values())

    def mcp_servers(self) -> list[McpDefinition]:
        """The operator's MCP servers."""
        return self._files.read("mcp-hub", McpHubFile).servers

    def mcp_server(self, name: str, image: str) -> McpDefinition | None:
        """The MCP server with an image; of several the one of that name, else none."""
        found = [each for each in self.mcp_servers() if image and each.image == image]
        if len(found) > 1:
            found = [each for each in found if each.name == name]
        return found[0] if found else None

    def templates(self) -> list[Template]:
        """The operator's templates."""
        return self._files.read("templates", TemplatesFile).templates

    def template(self, name: str) -> Template:
        """The template of that name.

        Raises:
            NotFound: there is none.
        """
        for template in self.templates():
            if template.name == name:
                return template
        raise NotFound(f"There is no template named {name[:80]!r}.", code="TEMPLATE_NOT_FOUND")
