"""References of images: hub names, names of imported images, and places in registries."""

import re

import msgspec

from serai.runtime.making import BUILT, CACHED
from serai.runtime.roots.problems import ImageProblem

HUB_NAMESPACES = ("", "blaxel", "sandbox")
INTERNAL = (f"{BUILT}/", f"{CACHED}/")
"""What the platform names by itself: nobody may ask for such a name, or see it in a list."""
LATEST = "latest"
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_PATH = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DOCKER_HUB = "docker.io"
_DOCKER_HUB_API = "registry-1.docker.io"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where an image lies: ``registry/repository``, and a tag or a digest there."""

    registry: str
    repository: str
    tag: str = LATEST
    digest: str = ""

    @property
    def host(self) -> str:
        """Host and port of the registry's API."""
        return _DOCKER_HUB_API if self.registry == _DOCKER_HUB else self.registry

    @property
    def version(self) -> str:
        """What to ask the registry for."""
        return self.digest or self.tag

    def __str__(self) -> str:
        end = f"@{self.digest}" if self.digest else f":{self.tag}"
        return f"{self.registry}/{self.repository}{end}"


def place_of(reference: str) -> Place | None:
    """The place in a registry that a reference names; None when it begins with no host.

    As with Docker, a host is ``localhost`` or holds a dot or a port.

    Raises:
        ImageProblem: it begins with a host, but the rest breaks the rules.
    """
    host, slash, rest = reference.partition("/")
    if not slash or not (host == "localhost" or any(mark in host for mark in ".:")):
        return None
    rest, _, digest = rest.partition("@")
    path, _, tag = rest.partition(":")
    if host == _DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    tagged = not tag or _TAG.fullmatch(tag)
    pinned = not digest or _DIGEST.fullmatch(digest)
    if not (_HOST.fullmatch(host) and _PATH.fullmatch(path) and tagged and pinned):
        raise ImageProblem(
            f"image {reference[:200]!r} is not HOST/PATH[:TAG][@sha256:…] with a path of "
            "lower-case letters, digits and single separators"
        )
    return Place(registry=host, repository=path, tag=tag or LATEST, digest=digest)


def hub_name(reference: str) -> str | None:
    """``nextjs`` for ``[blaxel/|sandbox/]nextjs[:latest]``; None for anything else."""
    name, colon, tag = reference.partition(":")
    namespace, _, short = name.rpartition("/")
    return short if namespace in HUB_NAMESPACES and (not colon or tag == LATEST) else None


def is_internal(reference: str) -> bool:
    """Whether a reference is one of the platform's own, which no client may name."""
    return reference.startswith(INTERNAL)


def hub_reference(name: str) -> str:
    """The full reference of a hub name."""
    return f"blaxel/{name}:{LATEST}"


def local_reference(reference: str) -> str:
    """The full form of a reference to an imported image: with a tag.

    Raises:
        ImageProblem: it is not a name that an image can have.
    """
    path, _, tag = reference.partition(":")
    if not _PATH.fullmatch(path) or not _TAG.fullmatch(tag or LATEST):
        raise ImageProblem(
            f"image name {reference[:200]!r} is not NAME[:TAG] of lower-case letters, digits and "
            "single separators"
        )
    return f"{path}:{tag or LATEST}"
