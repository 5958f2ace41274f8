"""The network of each sandbox: its rules are told before it starts, and kept up to date."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from serai.compute.kind import SANDBOXES
from serai.compute.live import LiveTable
from serai.compute.network_rules import policy_of, proxy_environment
from serai.compute.ports import Egress, RunningSandbox
from serai.egress.setup import EgressProblem, Report
from serai.resources.documents import Document
from serai.resources.store import DocumentStore
from serai.runtime.port import NetworkPlan, Runtime, RuntimeProblem

CHECK_SECONDS = 5.0
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_AUTHORITY = "/usr/local/share/ca-certificates/serai-egress.crt"
_PROXY_URL = "http://192.0.0.9:3128"
_TRUST = {
    "SSL_CERT_FILE": _BUNDLE,
    "REQUESTS_CA_BUNDLE": _BUNDLE,
    "CURL_CA_BUNDLE": _BUNDLE,
    "GIT_SSL_CAINFO": _BUNDLE,
    "PIP_CERT": _BUNDLE,
    "NODE_OPTIONS": "--use-openssl-ca",
}
"""Variables by which programs learn of the certificates that the runtime put there. That Node shall
read the same bundle is said in this way, as official clients take ``NODE_EXTRA_CA_CERTS`` for a
sign of a proxy."""

log = structlog.get_logger(__name__)


class SandboxNetworks:
    """Tells the egress process what each sandbox may reach.

    Args:
        closed: whether a sandbox without rules reaches nothing instead of the internet.
    """

    def __init__(self, store: DocumentStore, egress: Egress, *, closed: bool = False) -> None:
        self._store = store
        self._egress = egress
        self.closed = closed
        self._troubled: set[str] = set()
        self.on_attach: list[Callable[[RunningSandbox], Awaitable[None]]] = []
        """Called when a running sandbox was connected with a new egress process."""
        self.on_forget: list[Callable[[str], None]] = []
        """Called with the id of a sandbox that has ended for good."""

    def plan(self, body: Mapping[str, Any]) -> NetworkPlan:
        """What a new sandbox needs to know of its way out."""
        proxied = proxy_environment(body["spec"].get("network"), _PROXY_URL)
        environment = _TRUST | proxied
        if proxied:
            environment["NODE_EXTRA_CA_CERTS"] = _AUTHORITY
        return NetworkPlan(environment=environment, authority=self._egress.authority)

    def tell(self, document: Document) -> None:
        """From now on the rules of this document hold, for connections that are open as well."""
        body = self._store.reveal(SANDBOXES, document)
        policy = policy_of(body["spec"].get("network"), closed=self.closed)
        self._egress.put(document.id, policy)

    def forget(self, sandbox_id: str) -> None:
        """The sandbox has ended for good."""
        self._egress.drop(sandbox_id)
        for tell in self.on_forget:
            tell(sandbox_id)

    async def report(self, sandbox_id: str) -> Report:
        """What it reached and what was refused.

        Raises:
            EgressProblem: the egress process does not answer.
        """
        return await self._egress.report(sandbox_id)

    async def keep(self, live: LiveTable, runtime: Runtime) -> None:
        """Connect the running sandboxes with each new egress process, for ever."""
        while True:
            try:
                await self._attach_missing(live, runtime)
            except EgressProblem:
                pass
            except Exception:
                log.exception("network_check_failed")
            await self._egress.wait_for_restart(CHECK_SECONDS)

    async def _attach_missing(self, live: LiveTable, runtime: Runtime) -> None:
        attached = await self._egress.attached()
        missing = [each.sandbox for key, each in live.by_id.items() if key not in attached]
        self._troubled &= {sandbox.id for sandbox in missing}
        for sandbox in missing:
            if sandbox.id not in live.by_id:
                continue
            try:
                await runtime.attach(sandbox.handle)
            except RuntimeProblem as problem:
                self._complain(sandbox, problem)
                continue
            for step in self.on_attach:
                await step(sandbox)

    def _complain(self, sandbox: RunningSandbox, problem: RuntimeProblem) -> None:
        """Once, as it is tried again and again."""
        if sandbox.id not in self._troubled:
            self._troubled.add(sandbox.id)
            log.warning("network_not_attached", sandbox=sandbox.name, reason=str(problem))
