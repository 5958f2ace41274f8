"""The errand that lists what a sandbox changed on top of its image."""

import os
from pathlib import Path

import msgspec

from serai.runtime import privileges, rootfs, traces
from serai.runtime.birth import Place
from serai.runtime.changes import ChangeList
from serai.runtime.errands.files import LAYERS, UPPER, motionless
from serai.runtime.messages import Errand, Trace
from serai.runtime.walk import FOLDER


def list_changes(place: Place, errand: Errand) -> str:
    """Write the list of the sandbox in directory ``source`` to the new file ``target``.

    ``saved`` are, as JSON, the directories of saved files it lies on, and ``image`` the layers
    of its image, none for the host's files, over which the layers ``over`` lie. It stands still
    meanwhile.
    """
    details = errand.details
    source = Path(details["source"])
    saved = msgspec.json.decode(details["saved"], type=list[str])
    image = msgspec.json.decode(details["image"], type=list[str])
    over = msgspec.json.decode(details["over"], type=list[str])
    if not place.root_outside:
        privileges.enter_own_namespace(0)
    with traces.locked(source), open(details["target"], "xb") as file:
        trace = traces.read_trace(source)
        with motionless(trace):
            marks = "trusted" if place.root_outside else "user"
            changes = ChangeList(file, place.setup.uid_base or 0, marks)
            for folder in (source, *map(Path, saved)):
                for name in sorted(os.listdir(folder / LAYERS)):
                    upper = os.open(folder / LAYERS / name / UPPER, FOLDER)
                    prefix = b"" if name == rootfs.ROOT else os.fsencode(name)
                    changes.add(prefix, upper, _below(place, trace, (image, over), name))
                    os.close(upper)
    return ""


def _below(
    place: Place, trace: Trace | None, layers: tuple[list[str], list[str]], name: str
) -> list[str]:
    """The layers of the image under an overlay, the topmost first."""
    image, over = layers
    if image:
        return image
    if name == rootfs.ROOT:
        return [*over, trace.skeleton if trace else place.setup.skeleton]
    masks = [mask for mask in (trace.masks if trace else ()) if is_mask_of(mask, name)]
    return [*masks, f"/{name}"]


def is_mask_of(mask: str, name: str) -> bool:
    """Whether a lower layer hides parts of the host's directory ``name``."""
    return Path(mask).name.rpartition("-")[0] == name
