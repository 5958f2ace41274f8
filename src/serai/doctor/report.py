"""Runs every probe and puts the findings together."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from serai.doctor import isolation, kernel, programs, surroundings
from serai.doctor.findings import Finding, Place, Probe
from serai.kernel import instance
from serai.kernel.settings import Settings
from serai.runtime.privacy import own_mounts

PROBES: tuple[Probe, ...] = (
    isolation.drivers,
    kernel.root,
    kernel.user_namespaces,
    kernel.control_groups,
    kernel.freezer,
    kernel.mounts,
    kernel.system_calls,
    kernel.tunnels,
    programs.packet_filter,
    programs.quotas,
    programs.checkpoints,
    programs.swap,
    programs.image_tools,
    programs.node,
    surroundings.data_directory,
    surroundings.orphans,
    surroundings.port,
    surroundings.clock,
    surroundings.python,
    surroundings.interpreter_tree,
    surroundings.registries,
)
"""In the order of the report."""
_AT_ONCE = 6


def examine(settings: Settings, probes: Iterable[Probe] = PROBES) -> list[Finding]:
    """Everything that was found. Takes seconds; nothing is left on the machine."""
    with _place(settings) as place, ThreadPoolExecutor(_AT_ONCE) as pool:
        return [
            each for found in pool.map(lambda probe: _run(probe, place), probes) for each in found
        ]


def is_fit(findings: Iterable[Finding]) -> bool:
    """Whether nothing is missing that Serai needs."""
    return not any(each.required and each.state == "missing" for each in findings)


def _run(probe: Probe, place: Place) -> list[Finding]:
    try:
        return list(probe(place))
    except Exception as error:
        name = probe.__name__.replace("_", " ")
        return [Finding(group="Problems", name=name, state="missing", why=f"not known: {error!r}")]


@contextmanager
def _place(settings: Settings) -> Iterator[Place]:
    """A scratch directory in the data directory, or beside where it would be."""
    own = own_mounts()
    parent = settings.data_dir
    while not parent.is_dir():
        parent = parent.parent
    scratch = Path(tempfile.mkdtemp(prefix=".serai-doctor-", dir=parent))
    try:
        yield Place(
            data_dir=settings.data_dir,
            scratch=scratch,
            host=settings.host,
            port=settings.port,
            runtime=settings.runtime,
            own_mounts=own,
            is_running=instance.is_running(settings.data_dir),
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
