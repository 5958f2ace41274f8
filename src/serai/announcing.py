"""What happens once the server listens: others may find it, people are told, memory settles."""

import gc
import os
import sys

import structlog

import serai
from serai.connect.banner import banner
from serai.identity.bootstrap import Bootstrapped
from serai.kernel import instance
from serai.kernel.clock import now
from serai.kernel.instance import Instance
from serai.kernel.settings import AUTO, Settings
from serai.runtime.port import Runtime

log = structlog.get_logger("serai")


def announce(settings: Settings, runtime: Runtime, booted: Bootstrapped, setup: str | None) -> None:
    """Say that the server is ready; ``setup`` is the link for the first admin's password."""
    instance.publish(
        settings.data_dir,
        Instance(
            pid=os.getpid(),
            url=settings.origin,
            host=settings.host,
            port=settings.port,
            workspace=settings.workspace,
            version=serai.__version__,
            started_at=now(),
        ),
    )
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    isolation = {
        "isolation_level": runtime.level,
        "isolation": runtime.isolation,
    }
    log.info("ready", url=settings.origin, runtime=runtime.name, **isolation)
    if settings.banner:
        shown = booted.admin_key if settings.admin_api_key is None else None
        text = banner(
            settings.origin,
            shown,
            settings.workspace,
            settings.data_dir,
            setup,
            own_certificate=settings.tls == AUTO,
        )
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
