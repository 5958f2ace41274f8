"""The lowest layer under every image: what a sandbox needs and an image may lack."""

import hashlib
import os
from pathlib import Path

from serai.runtime.image import RESOLVER
from serai.runtime.roots.records import Layer
from serai.runtime.roots.store import Store

_DIRECTORIES = {
    **dict.fromkeys(("blaxel", "dev", "etc", "home", "opt", "proc", "run", "sys", "var"), 0o755),
    **dict.fromkeys(("var/cache", "var/lib", "var/log"), 0o755),
    "root": 0o700,
    "tmp": 0o1777,
    "run/lock": 0o1777,
    "var/tmp": 0o1777,
}
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/resolv.conf": RESOLVER,
}


def basis(store: Store) -> str:
    """Id of the layer, made if missing. Blocks shortly; the caller holds the store."""
    layer_id = hashlib.sha256(repr((_DIRECTORIES, _FILES)).encode()).hexdigest()
    if not store.has_layer(layer_id):
        with store.draft() as folder:
            tree = folder / "fs"
            _build(tree, store.owner)
            store.add_layer(Layer(id=layer_id, size=0, entries=len(_DIRECTORIES)), tree)
    return layer_id


def _build(tree: Path, owner: int | None) -> None:
    tree.mkdir(mode=0o755)
    for name, mode in _DIRECTORIES.items():
        (tree / name).mkdir()
        (tree / name).chmod(mode)
    for name, text in _FILES.items():
        (tree / name).write_text(text)
        (tree / name).chmod(0o644)
    if owner is not None:
        for path in (tree, *(tree / name for name in (*_DIRECTORIES, *_FILES))):
            os.chown(path, owner, owner)
