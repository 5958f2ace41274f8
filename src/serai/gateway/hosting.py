"""What has an address here and nothing behind it: workloads, and domains nobody has verified."""

from serai.gateway.admission import demand_access
from serai.gateway.exchange import Exchange
from serai.gateway.problems import DomainNotVerified, WorkloadNotFound


class HostedExchange(Exchange):
    """Says, to callers who may know, that nothing of that kind and name is running."""

    __slots__ = ()

    def admitted(self) -> None:
        demand_access(self.principal, self.target, None)
        kind = self.target.kind.decode("ascii").removesuffix("s")
        raise WorkloadNotFound(
            f"No deployed {kind} '{self.target.name}' is running in workspace"
            f" '{self.target.workspace}'. This server does not host {kind}s yet; sandboxes and"
            " models are available."
        )


class UnverifiedExchange(Exchange):
    """Says that a custom domain leads here and is not served."""

    __slots__ = ()

    def begin(self) -> None:
        self.fail(
            DomainNotVerified(
                f"{self.target.host} is below a custom domain that is not verified. Its owner sets"
                " the DNS records that GET /v0/customdomains shows, and verifies it."
            )
        )

    def shows_pages(self) -> bool:
        return True
