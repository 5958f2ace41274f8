"""The operator's settings of the network, told to the egress process in its own words."""

import os
from pathlib import Path

import structlog

from serai.egress.forgery import load_authority
from serai.egress.service import EgressService
from serai.egress.setup import EgressProblem, HostRule, Setup
from serai.kernel.settings import Settings
from serai.network.settings import EgressSettings, split_place
from serai.runtime.host import is_host_root

PLATFORM = "serai.internal"
"""Where sandboxes reach this server, if they may."""
_NOBODY = 65534
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}  # noqa: S104

log = structlog.get_logger("serai")


def egress_service(settings: Settings, egress: EgressSettings) -> EgressService:
    """The service that keeps the egress process, with what that is told at each start."""

    def setup() -> Setup:
        certificate, key = load_authority(settings.data_dir / "ca")
        roots = Path(egress.roots)
        if egress.roots and not roots.is_absolute():
            roots = settings.data_dir / roots
        return Setup(
            allowed=egress.allow,
            hosts=_hosts(settings, egress),
            certificate=certificate,
            key=key,
            roots=roots.read_text() if egress.roots else "",
            refused_ports=(settings.port,),
            user=_NOBODY if is_host_root() and os.geteuid() == 0 else None,
        )

    return EgressService(settings.data_dir, setup)


def _hosts(settings: Settings, egress: EgressSettings) -> tuple[HostRule, ...]:
    rules = []
    if egress.platform:
        address = _ANY.get(settings.host, settings.host)
        rules.append(HostRule(name=PLATFORM, address=address, port=settings.port))
    for name, place in egress.hosts.items():
        address, port = split_place(place)
        rules.append(HostRule(name=name.lower(), address=address, port=port))
    return tuple(rules)


async def start_egress(service: EgressService) -> None:
    """Start the egress process; without it everything but the network of sandboxes works."""
    try:
        await service.start()
    except (EgressProblem, OSError, ValueError) as problem:
        log.error("sandboxes_without_network", reason=str(problem))
