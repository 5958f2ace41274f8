"""How a project without a Dockerfile becomes an image: as data, for the one who carries it out."""

import shlex

import msgspec

from serai.build.sources import Project

ROOM = "/blaxel"
"""Where a project lies, while it is built and when it runs."""
_SHELL_MARKS = frozenset("$`\"'\\;&|<>(){}*?[]!~#\n")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Two stages: dependencies, which are used again, and the project on top of them.

    Attributes:
        language: for people.
        base: the image to build on.
        inputs: what the first stage needs of the project, by path; None for all of it.
        install: shell steps of the first stage; none where there is nothing to install.
        kept: names of folders, at whatever depth, that the first stage makes.
        prepare: shell steps of the second stage, which has the whole project.
        command: how the program starts.
        environment: variables of every step, and of the program.
    """

    language: str
    base: str
    inputs: dict[str, bytes] | None
    install: tuple[str, ...]
    kept: tuple[str, ...]
    prepare: tuple[str, ...]
    command: tuple[str, ...]
    environment: dict[str, str]


def wanted_command(project: Project) -> tuple[str, ...] | None:
    """The entry point for production that ``blaxel.toml`` names."""
    entry = project.toml("blaxel.toml").get("entrypoint") or {}
    text = entry.get("prod") if isinstance(entry, dict) else None
    return as_command(text) if isinstance(text, str) and text.strip() else None


def as_command(text: str) -> tuple[str, ...]:
    """The words of a command; by a shell where it needs one."""
    if _SHELL_MARKS.isdisjoint(text):
        return tuple(shlex.split(text))
    simple = not any(mark in text for mark in (";", "&&", "||", "|", "\n", "&", "("))
    first = text.split()[0]
    assigns = "=" in first
    return ("/bin/sh", "-c", f"exec {text}" if simple and not assigns else text)
