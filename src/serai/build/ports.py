"""What builders are given, what they answer, and what they need of others."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from serai.build.sources import Project
from serai.runtime.making import MadeImage, Making

Say = Callable[[str], None]
"""Takes a line that whoever deployed shall see."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a build may use. MiB, and seconds for all of it."""

    memory_mb: int
    disk_mb: int
    seconds: int


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One build, as a builder sees it.

    Attributes:
        id: of the build.
        reference: by which the runtime shall know the image.
        project: the code.
        limits: what it may use.
        say: what it prints, line by line.
        making: where images are made; held for as long as the build goes on.
        starts_itself: whether the image's entry point runs wherever it is used, as in a sandbox,
            or is for the one who starts it.
    """

    id: str
    reference: str
    project: Project
    limits: Limits
    say: Say
    making: Making
    starts_itself: bool


class Builder(Protocol):
    """Makes an image of projects of one kind. All may be repeated after a crash."""

    name: str

    def handles(self, project: Project) -> bool:
        """Whether a project is of that kind."""

    async def build(self, job: Job) -> MadeImage:
        """Make the image; when cancelled, nothing goes on.

        Raises:
            BuildFailed: for a reason that whoever deployed can change.
            RuntimeProblem: this machine cannot do it.
        """
