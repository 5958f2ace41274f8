"""The parts of the network put together."""

from collections.abc import Callable
from pathlib import Path

from litestar.types import ControllerRouterHandler

from serai.network.domain_operations import DomainContext, domain_operations
from serai.network.egress_operations import egress_operations
from serai.network.served import Domains
from serai.network.settings import load_network_settings
from serai.network.verification import DnsVerifier
from serai.resources.operations import ResourceContext


class Network:
    """Everything of this package; ``regions`` answers those that a resource may be in."""

    def __init__(self, data_dir: Path, origin: str, regions: Callable[[], list[str]]) -> None:
        self.settings = load_network_settings(data_dir / "network.toml", origin)
        self.verifier = DnsVerifier(self.settings.nameservers)
        self.domains = Domains()
        self._regions = regions

    def operations(self, context: ResourceContext) -> list[ControllerRouterHandler]:
        """Every operation of this package."""
        target = self.settings.cname_target
        domains = DomainContext(context, self.verifier, target, self._regions)
        return [*domain_operations(domains), *egress_operations(context, self._regions)]
