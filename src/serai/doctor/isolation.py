"""A real trial sandbox with each driver."""

import asyncio
from collections.abc import Iterator

from serai.doctor.findings import Finding, Place
from serai.runtime.drivers import DEFAULT, DRIVERS, Make
from serai.runtime.pool import Pool
from serai.runtime.port import NotInstalled, RuntimeProblem

_GROUP = "Drivers"
_WEAKER = "DEGRADED"
_POOL_MB = 256


def drivers(place: Place) -> Iterator[Finding]:
    """Each driver in turn; the one that the settings choose is needed."""
    chosen = DEFAULT if place.runtime == "auto" else place.runtime
    for name, make in DRIVERS.items():
        found = asyncio.run(_try(name, make, place))
        if name == chosen:
            why = f"{found.why} (chosen by runtime={place.runtime})"
            yield Finding(
                group=_GROUP, name=name, state=found.state, why=why, fix=found.fix, required=True
            )
        else:
            yield found


async def _try(name: str, make: Make, place: Place) -> Finding:
    """Start it, which starts and removes a sandbox, and say how strong it is."""
    folder = place.scratch / "data"
    folder.mkdir(mode=0o700, exist_ok=True)
    runtime = make(
        folder, pool=Pool(folder, _POOL_MB, own_mounts=place.own_mounts), egress=None, policy=None
    )
    try:
        await runtime.start()
    except NotInstalled as problem:
        return Finding(
            group=_GROUP, name=name, state="missing", why=problem.message, fix=problem.fix
        )
    except RuntimeProblem as problem:
        return Finding(group=_GROUP, name=name, state="missing", why=str(problem))
    else:
        weaker = [part for part in runtime.isolation.split("; ") if part.startswith(_WEAKER)]
        more = ["snapshots with processes"] if runtime.files.level == "memory" else []
        why = "; ".join(
            [runtime.level, *more, *(part.removeprefix(f"{_WEAKER}: ") for part in weaker)]
        )
        return Finding(group=_GROUP, name=name, state="degraded" if weaker else "works", why=why)
    finally:
        await runtime.close()
