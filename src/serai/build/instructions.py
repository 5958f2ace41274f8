"""What a Dockerfile may ask of the engine itself, which reaches further than any of its steps."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence

from serai.build.failures import BuildFailed

SANDBOX_API = re.compile(r"--from=(\S*blaxel-ai/sandbox\S*)")
"""Where image builders of official SDKs copy the sandbox API from."""
_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", re.I | re.M)
_STAGE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_FROM_OPTION = re.compile(r"(?:--|[,\s=])from=([^,\s]+)", re.I)
_ARG = re.compile(r"^\s*ARG\s+(.+)$", re.I | re.M)
_ADD = re.compile(r"^\s*(?:ONBUILD\s+)?ADD\s.*$", re.I | re.M)
_ESCAPE = re.compile(r"^\s*#\s*escape\s*=\s*[^\\\s]", re.I | re.M)
_SYNTAX = re.compile(r"^\s*#\s*syntax\s*=\s*(\S+)", re.I | re.M)
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_TRANSPORTS = frozenset(
    {
        "containers-storage",
        "dir",
        "docker",
        "docker-archive",
        "docker-daemon",
        "git",
        "http",
        "https",
        "oci",
        "oci-archive",
        "ostree",
        "sif",
        "ssh",
        "tarball",
    }
)
"""What engines take before a colon instead of a registry; most lead to files of the host."""
_MOST = 64


def check_dockerfile(text: str, arguments: Mapping[str, str], registries: Sequence[str]) -> None:
    """Refuse images from elsewhere than the registries that are asked for everybody, and what the
    engine would fetch by itself.

    Raises:
        BuildFailed: naming the instruction.
    """
    if _ESCAPE.search(text):
        raise BuildFailed("the Dockerfile changes its escape character: leave it at \\")
    for frontend in _SYNTAX.findall(text):
        if not frontend.startswith(("docker/dockerfile:", "docker.io/docker/dockerfile:")):
            raise BuildFailed(f"# syntax={frontend[:80]}: only docker/dockerfile is understood")
    whole = re.sub(r"\\[ \t]*\r?\n", " ", text)
    for line in _ADD.findall(whole):
        if any(mark in line for mark in ("://", "git@", "$")):
            raise BuildFailed(
                f"`{line.strip()[:100]}`: ADD takes files of the project only here; get others in "
                "a RUN step"
            )
    values = _values(whole, arguments)
    stages: set[str] = set()  # an image may be named like a stage that only comes later
    for image, stage in _FROM.findall(whole):
        _check_meanings(image, values, stages, registries)
        if _STAGE.fullmatch(stage):
            stages.add(stage.lower())
    for image in _FROM_OPTION.findall(whole):
        if not image.isdecimal() and not SANDBOX_API.fullmatch(f"--from={image}"):
            _check_meanings(image, values, stages, registries)


def _check_meanings(
    image: str, values: Mapping[str, set[str]], stages: set[str], registries: Sequence[str]
) -> None:
    for meant in _meanings(image, values):
        if meant.lower() not in stages:
            _check_image(meant, registries)


def _values(text: str, arguments: Mapping[str, str]) -> dict[str, set[str]]:
    """Every value that a variable may have where an image is named: by a default, or given."""
    found: dict[str, set[str]] = {name: {value} for name, value in arguments.items()}
    for line in _ARG.findall(text):
        for part in line.split():
            name, _, value = part.partition("=")
            found.setdefault(name, set()).add(value.strip("\"'"))
    return found


def _meanings(image: str, values: Mapping[str, set[str]]) -> Iterator[str]:
    """What an image may stand for, with all values that its variables may have."""
    plain = image.strip("\"'")
    names = sorted({first or second for first, second in _VARIABLE.findall(plain)})
    choices = [sorted(values.get(name, {""})) for name in names]
    if "$" in _VARIABLE.sub("", plain) or math.prod(map(len, choices)) > _MOST:
        raise BuildFailed(f"{image[:100]}: name the image, or use plain variables such as $NAME")
    for chosen in itertools.product(*choices):
        known = dict(zip(names, chosen, strict=True))
        meant = _VARIABLE.sub(lambda found: known[found[1] or found[2]], plain)  # noqa: B023
        if "$" in meant:
            raise BuildFailed(f"{image[:100]}: a variable of an image has no other in its value")
        yield meant


def _check_image(image: str, registries: Sequence[str]) -> None:
    if image.lower() == "scratch":
        return
    if image.partition(":")[0].lower() in _TRANSPORTS or not image or image[0] in "./":
        raise BuildFailed(f"{image[:100]} is no image in a registry")
    host = _host_of(image)
    allowed = {each.removeprefix("http://") for each in registries}
    if host not in allowed and "*" not in allowed:
        raise BuildFailed(
            f"{image[:100]} is of the registry {host}, which this installation does not ask (the "
            f"setting image_registries names {', '.join(registries) or 'none'})"
        )


def _host_of(image: str) -> str:
    host, slash, _ = image.partition("/")
    named = slash and (host == "localhost" or any(mark in host for mark in ".:"))
    return host if named else "docker.io"
