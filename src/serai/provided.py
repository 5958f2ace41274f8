"""Glue between the runtime's images and those who list, register and resolve them."""

from sqlalchemy import Connection

from serai.images.registration import Provided
from serai.images.resolution import resolve
from serai.kernel.settings import Settings
from serai.runtime.port import ImageInfo, Runtime
from serai.runtime.roots.names import is_internal
from serai.runtime.roots.policy import Policy
from serai.runtime.roots.recipes import Recipe, Recipes
from serai.wire.catalog import SandboxDefinition
from serai.wire.common import Port

HOST_TEXT = "The programs of this host; `serai images build {}` builds an image of its own."
PROTOCOLS = {"tls": "TLS"}


def image_policy(settings: Settings) -> Policy:
    """What the settings say about images."""
    return Policy(
        source=settings.image_source,
        registries=settings.image_registries,
        mirror=settings.image_mirror or "",
    )


def hub(runtime: Runtime, recipes: Recipes) -> list[SandboxDefinition]:
    """The runtime's images as the hub lists them."""
    return [_definition(info, recipes) for info in runtime.library.infos()]


def _definition(info: ImageInfo, recipes: Recipes) -> SandboxDefinition:
    path, _, _ = info.reference.rpartition(":")
    namespace, _, short = path.rpartition("/")
    recipe = recipes.find(short) if namespace == "blaxel" else None
    if recipe is None:
        text = f"The image {info.reference}, {info.source}."
        name = path if not namespace else info.reference
        return SandboxDefinition(
            name=name, image=info.reference, display_name=name, description=text, memory=4096
        )
    text = HOST_TEXT.format(short) if info.state == "host" else recipe.description
    return SandboxDefinition(
        name=short,
        image=info.reference,
        display_name=recipe.title,
        description=text,
        memory=recipe.memory,
        categories=[{"name": name} for name in recipe.categories],
        ports=_ports(recipe) or None,
        hidden=recipe.hidden or None,
    )


def _ports(recipe: Recipe) -> list[Port]:
    return [
        Port(
            target=port.target, name=port.name, protocol="TLS" if port.protocol == "tls" else "HTTP"
        )
        for port in recipe.ports
    ]


def provided(runtime: Runtime, settings: Settings) -> Provided:
    """What can be registered as a workspace's image."""
    return Provided(lambda: runtime.library.infos(), image_policy(settings).allows)


def resolve_for_sandbox(conn: Connection, workspace: str, reference: str) -> str:
    """What a sandbox's image means: the workspace's own registry first, then the runtime's."""
    return resolve_for(conn, workspace, "sandbox", reference)


def resolve_for(conn: Connection, workspace: str, kind: str, reference: str) -> str:
    """What the runtime is asked for when a resource of that type names an image.

    What the platform names by itself belongs to workspaces: others are not led there.
    """
    found = resolve(conn, workspace, kind, reference)
    if found is None and is_internal(reference):
        return f"unknown/{reference}"
    return found or reference
