"""Deployments as requests find them: which revisions serve, who may call them, and by which path.

Derived state: made from documents and rows, kept in memory, read on every request.
"""

from collections.abc import Sequence
from random import Random
from zlib import crc32

import msgspec

from serai.hosting.fleets import Fleet
from serai.hosting.ports import Workload
from serai.hosting.problems import ENDED, SessionEnded, WorkloadUnavailable, unavailable
from serai.resources.kind import Body
from serai.resources.revisions import WAITING

Key = tuple[str, str, str]
"""Kind (as in paths, for example ``agents``), workspace and name."""


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """One way to call a deployment.

    Attributes:
        id: unique in the deployment.
        type: ``http``, ``http-async`` or ``cron``.
        path: below the workspace, ``/agents/mine/hook``; empty for the usual one.
        public: nobody has to say who they are.
        schedule: of a ``cron``.
        timeout: seconds that an asynchronous call may take.
        retry: how often a failed asynchronous call is sent again.
        callback_url: where its result is sent; empty for nowhere.
        callback_secret: signs that.
        tasks: of a ``cron``; the first is what its calls say.
    """

    id: str
    type: str
    path: str = ""
    public: bool = False
    schedule: str = ""
    timeout: int = 900
    retry: int = 0
    callback_url: str = ""
    callback_secret: str = ""
    tasks: tuple[Body, ...] = ()


class Choice(msgspec.Struct, frozen=True):
    """The revision that a request goes to, and whether its caller is to come back to it."""

    fleet: Fleet
    stick_seconds: int = 0


class Deployment:
    """One deployment.

    Attributes:
        workload: which.
        status: of its document.
        why: why nothing serves, for people; empty while something does.
        public: nobody has to say who they are.
        triggers: those that are enabled.
        active, canary: what serves.
        percent: share of the calls that the canary gets.
        sticky_seconds: for how long a caller comes back to the same revision; 0 for not.
    """

    def __init__(self, workload: Workload, random: Random) -> None:
        self.workload = workload
        self.status = ""
        self.why = ""
        self.public = False
        self.triggers: tuple[Trigger, ...] = ()
        self.active: Fleet | None = None
        self.canary: Fleet | None = None
        self.percent = 0
        self.sticky_seconds = 0
        self._random = random

    @property
    def fleets(self) -> list[Fleet]:
        """Those that serve."""
        return [fleet for fleet in (self.active, self.canary) if fleet is not None]

    def explain(self, *, enabled: bool) -> None:
        """Say why nothing serves, as far as the document tells; what a rollout said stays."""
        if self.status in WAITING:
            self.why = _waits(self.status)
        elif not enabled:
            self.why = "it is switched off (spec.enabled is false)"
        elif self.status == "FAILED" and self.why in {"", *map(_waits, WAITING)}:
            self.why = "its deployment failed; its events say why"

    def fleet(self, revision: str) -> Fleet | None:
        """The one of a revision, if that serves."""
        return next((each for each in self.fleets if each.revision == revision), None)

    def choose(self, sticky: str, thread: bytes) -> Choice:
        """The revision for a request.

        Args:
            sticky: the revision that an earlier answer told the caller, or empty.
            thread: what the caller names its conversation, or empty: all of one conversation go
                to one revision.

        Raises:
            WorkloadUnavailable: nothing serves.
        """
        active, canary = self.active, self.canary
        if active is None:
            raise self.refusal()
        if canary is None or not self.percent:
            return Choice(active)
        seconds = self.sticky_seconds
        if seconds:
            for fleet in (active, canary):
                if fleet.revision == sticky:
                    return Choice(fleet)
            if thread:
                return Choice(canary if crc32(thread) % 100 < self.percent else active)
        drawn = canary if self._random.random() * 100 < self.percent else active
        return Choice(drawn, seconds)

    def refusal(self) -> WorkloadUnavailable:
        """Why nothing serves."""
        kind, name = self.workload.kind, self.workload.name
        why = self.why or "it is not deployed"
        text = f"The {kind} '{name}' is not being served: {why}"
        return unavailable(self.status.lower() or "not_deployed", text)

    def holder(self, instance_id: str) -> Fleet:
        """The revision that an instance is of.

        Raises:
            SessionEnded: it is gone.
        """
        found = next((each for each in self.fleets if each.has(instance_id)), None)
        if found is None:
            raise SessionEnded(ENDED)
        return found


class Table:
    """Deployments by key, and the paths of their triggers by workspace."""

    def __init__(self) -> None:
        self.by_key: dict[Key, Deployment] = {}
        self.by_id: dict[str, Deployment] = {}
        self.paths: dict[str, list[tuple[str, Key, Trigger]]] = {}

    def put(self, deployment: Deployment) -> None:
        """Add, or note what has changed of it."""
        workload = deployment.workload
        self.by_key[key_of(workload)] = deployment
        self.by_id[workload.document_id] = deployment
        self._index(workload.workspace)

    def remove(self, document_id: str) -> Deployment | None:
        """It is gone."""
        deployment = self.by_id.pop(document_id, None)
        if deployment is not None:
            key = key_of(deployment.workload)
            if self.by_key.get(key) is deployment:
                del self.by_key[key]
            self._index(deployment.workload.workspace)
        return deployment

    def _index(self, workspace: str) -> None:
        found = [
            (trigger.path, key, trigger)
            for key, deployment in self.by_key.items()
            if key[1] == workspace
            for trigger in deployment.triggers
            if trigger.path
        ]
        found.sort(key=lambda each: (-len(each[0]), each[1], each[2].id))
        if found:
            self.paths[workspace] = found
        else:
            self.paths.pop(workspace, None)

    def at(self, workspace: str, path: str) -> tuple[Key, Trigger, str] | None:
        """The trigger with the longest path that a path is at or below.

        Returns:
            Whose it is, the trigger, and what follows its path.
        """
        for prefix, key, trigger in self.paths.get(workspace, ()):
            if path == prefix or path.startswith(prefix + "/"):
                return key, trigger, path[len(prefix) :]
        return None


PLURALS = {"agent": "agents", "function": "functions", "application": "applications"}


def key_of(workload: Workload) -> Key:
    """By which requests find a deployment."""
    return PLURALS[workload.kind], workload.workspace, workload.name


def asynchronous(triggers: Sequence[Trigger]) -> Trigger | None:
    """The trigger that ``?async=true`` means: one without a path of its own first."""
    found = [each for each in triggers if each.type == "http-async"]
    return min(found, key=lambda each: bool(each.path), default=None)


def _waits(status: str) -> str:
    return f"it is {status.lower()}; try again when it is deployed"
