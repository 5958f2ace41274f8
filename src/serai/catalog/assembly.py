"""The parts of the catalogue put together."""

from collections.abc import Callable
from pathlib import Path

from litestar.types import ControllerRouterHandler
from sqlalchemy import Connection

from serai.catalog.files import CatalogueFiles
from serai.catalog.hubs import Hubs
from serai.catalog.integration_operations import integration_operations
from serai.catalog.operations import catalogue_operations
from serai.catalog.placement import Placement
from serai.catalog.places import Places
from serai.catalog.policy_operations import policy_read_operations
from serai.catalog.providers import Providers
from serai.catalog.secret_operations import secret_operations
from serai.catalog.secrets import SecretStore
from serai.catalog.standins import StandIns
from serai.resources.kind import Body, Kind
from serai.resources.operations import ResourceContext
from serai.store.secrets import Vault
from serai.wire.catalog import SandboxDefinition


class Catalog:
    """Everything of this package; ``provided`` answers the images that the runtime can start."""

    def __init__(
        self, data_dir: Path, vault: Vault, provided: Callable[[], list[SandboxDefinition]]
    ) -> None:
        files = CatalogueFiles(data_dir / "catalogue")
        self.places = Places(files)
        self.placement = Placement(self.places)
        self.hubs = Hubs(files, provided)
        self.providers = Providers(files)
        self.stand_ins = StandIns(self.providers)
        self.secrets = SecretStore(vault)

    def check(self, conn: Connection, kind: Kind, workspace: str, body: Body) -> None:
        """The rules of the document store that this package knows; they raise."""
        self.placement.check(conn, kind, workspace, body)
        self.stand_ins.check(conn, kind, workspace, body)

    def operations(self, context: ResourceContext) -> list[ControllerRouterHandler]:
        """Every operation of this package."""
        return [
            *catalogue_operations(self.places, self.hubs),
            *integration_operations(context, self.providers),
            *secret_operations(context, self.secrets),
            *policy_read_operations(context),
        ]
