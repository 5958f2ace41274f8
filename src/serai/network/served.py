"""Which custom domains are served, and for whose previews."""

import msgspec
from sqlalchemy import Connection, select

from serai.kernel.errors import BadRequest
from serai.network.domains import DOMAINS
from serai.network.shares import ACCOUNT, shared_with
from serai.resources import documents
from serai.resources.documents import Document
from serai.resources.kind import Body
from serai.resources.tenants import need_tenant
from serai.store.reach import unbounded
from serai.store.tables.identity import workspaces
from serai.store.tables.sharing import domain_shares


class ServedDomain(msgspec.Struct, frozen=True):
    """A verified domain of type previews: whose it is, and whose previews may be below it."""

    workspace: str
    workspaces: frozenset[str]
    fallback: str


class ServedDomains(msgspec.Struct, frozen=True):
    """Verified domains by name, and the names that nobody has proven to have."""

    verified: dict[str, ServedDomain]
    unverified: frozenset[str]


def served_domains(conn: Connection) -> ServedDomains:
    """All domains, of every workspace: for the gateway, which is one for all."""
    shares = _shares(conn)
    verified: dict[str, ServedDomain] = {}
    named: set[str] = set()
    for document in documents.every(conn, DOMAINS.name):
        spec = msgspec.json.decode(document.body)["spec"]
        named.add(document.name)
        if spec["status"] == "verified" and spec["domainType"] == "previews":
            verified[document.name] = ServedDomain(
                document.workspace,
                frozenset({document.workspace, *shares.get(document.id, ())}),
                spec.get("fallbackPreviewId") or "",
            )
    return ServedDomains(verified, frozenset(named - verified.keys()))


def _shares(conn: Connection) -> dict[str, set[str]]:
    """Workspaces that each domain is shared with, the whole account spelled out."""
    s, w = domain_shares.c, workspaces.c
    query = select(s.document_id, w.name).where(
        s.account_id == w.account_id, (s.target == w.name) | (s.target == ACCOUNT)
    )
    found: dict[str, set[str]] = {}
    for document_id, name in conn.execute(query):
        found.setdefault(document_id, set()).add(name)
    return found


class Domains:
    """What previews may use of the custom domains."""

    def need_served(self, conn: Connection, workspace: str, domain: str) -> None:
        """Refuse a domain below which this workspace's previews cannot be served.

        Raises:
            BadRequest: there is none of that name here, or it is not verified, or not for previews.
        """
        document = documents.find(conn, workspace, DOMAINS.name, domain)
        if document is None:
            document = _shared(conn, workspace, domain)
        if document is None:
            raise BadRequest(
                f"spec.customDomain {domain[:80]!r} is no custom domain of this workspace: create"
                " it with POST /v0/customdomains, or have it shared with this workspace."
            )
        spec: Body = msgspec.json.decode(document.body)["spec"]
        if spec["domainType"] != "previews":
            raise BadRequest(f"spec.customDomain {domain[:80]!r} is not of type previews.")
        if spec["status"] != "verified":
            raise BadRequest(
                f"spec.customDomain {domain[:80]!r} is {spec['status']}: set its DNS records, then"
                f" POST /v0/customdomains/{domain[:80]}/verify."
            )


def _shared(conn: Connection, workspace: str, domain: str) -> Document | None:
    account = need_tenant(conn, workspace).account_id
    with unbounded("a shared domain is its owner's"):
        return next(iter(shared_with(conn, workspace, account, domain)), None)
