"""Agents, functions and jobs: their paths exist, hosting them does not yet."""

from serai.gateway.exchange import Exchange
from serai.gateway.problems import WorkloadNotFound


class HostedExchange(Exchange):
    """Says, to callers who may know, that nothing of that kind and name is running."""

    __slots__ = ()

    def admitted(self) -> None:
        self.demand_access(None)
        kind = self.target.kind.decode("ascii").removesuffix("s")
        raise WorkloadNotFound(
            f"No deployed {kind} '{self.target.name}' is running in workspace"
            f" '{self.target.workspace}'. This server does not host {kind}s yet; sandboxes and"
            " models are available."
        )
