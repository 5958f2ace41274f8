"""Who asks for tokens: the built-in client, registered applications and service accounts.

Authlib calls the methods of ``Client`` by these names (its ``ClientMixin``).
"""

import hmac
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, select

from serai.api.scopes import RESOURCE_SCOPES
from serai.oauth import redirects, scopes
from serai.store.reach import unbounded
from serai.store.secrets import Vault
from serai.store.tables.identity import service_accounts, workspaces
from serai.store.tables.oauth import oauth_clients

CODE = "authorization_code"
REFRESH = "refresh_token"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
MACHINE = "client_credentials"
BUILT_IN_ID = "blaxel"
"""How the official command line and SDKs call themselves."""
CONSOLE_ID = "serai-console"
"""The web console: its grants come from a browser session, never from a request for one."""
Kind = Literal["built-in", "registered", "service account"]


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """An OAuth client.

    Attributes:
        client_id: its public name.
        name: for people.
        kind: ours, an application that an account registered, or a machine's identity.
        account_id: whose it is; empty for the built-in one, which is everybody's.
        secret_digest: of its secret; without one it is public.
        redirect_uris: where codes may go.
        grant_types: what it may use at the token endpoint.
        scope: the words that it may ask for.
        workspace: of a service account.
    """

    client_id: str
    name: str
    kind: Kind
    account_id: str = ""
    secret_digest: bytes | None = None
    redirect_uris: tuple[str, ...] = ()
    grant_types: tuple[str, ...]
    scope: frozenset[str]
    workspace: str = ""
    digest_of: Callable[[str], bytes] | None = None

    @property
    def is_public(self) -> bool:
        """Whether it has no secret."""
        return self.secret_digest is None

    @property
    def is_ours(self) -> bool:
        """Whether it stands for the caller as a whole: nobody is asked about single scopes."""
        return self.kind != "registered"

    def serves(self, account_id: str) -> bool:
        """Whether it may act for people of an account: the built-in one for all, others for own."""
        return self.kind == "built-in" or self.account_id == account_id

    def get_client_id(self) -> str:
        """Its public name."""
        return self.client_id

    def get_default_redirect_uri(self) -> str | None:
        """Where codes go when a request does not say."""
        return self.redirect_uris[0] if len(self.redirect_uris) == 1 else None

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """What it gets when it asks for a scope; ``None`` when it asks for too much."""
        asked = scopes.words(scope)
        if scopes.unknown(asked, self.scope):
            return None
        if self.is_ours:
            return scopes.with_role(asked)
        return " ".join(asked or sorted(self.scope))

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Whether codes may go there."""
        if self.kind == "built-in":
            return redirects.is_loopback(redirect_uri)
        return any(redirects.matches(known, redirect_uri) for known in self.redirect_uris)

    def check_client_secret(self, client_secret: str) -> bool:
        """Whether that is its secret; a public client has none that could be right."""
        if self.secret_digest is None or self.digest_of is None:
            return False
        return hmac.compare_digest(self.secret_digest, self.digest_of(client_secret))

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """A client with a secret has to show it, everywhere."""
        return (method == "none") == self.is_public

    def check_response_type(self, response_type: str) -> bool:
        """Codes are the only thing that the authorization endpoint gives."""
        return response_type == "code" and CODE in self.grant_types

    def check_grant_type(self, grant_type: str) -> bool:
        """Whether it may use that grant."""
        return grant_type in self.grant_types

    def gets_refresh_token(self, scope: str) -> bool:
        """Ours always do; others when somebody agreed that they act in their absence."""
        return self.is_ours or (REFRESH in self.grant_types and scopes.OFFLINE in scope.split())


BUILT_IN = Client(
    client_id=BUILT_IN_ID,
    name="Blaxel command line and SDKs",
    kind="built-in",
    grant_types=(CODE, REFRESH, DEVICE),
    scope=scopes.SUPPORTED,
)

CONSOLE = Client(
    client_id=CONSOLE_ID,
    name="Serai console",
    kind="built-in",
    grant_types=(),
    scope=scopes.SUPPORTED,
)


@unbounded("which application a request speaks of comes before who asks")
def find(conn: Connection, vault: Vault, client_id: str) -> Client | None:
    """The client of that id, of any kind."""
    for ours in (BUILT_IN, CONSOLE):
        if client_id == ours.client_id:
            return ours
    return _registered(conn, vault, client_id) or _machine(conn, vault, client_id)


def _registered(conn: Connection, vault: Vault, client_id: str) -> Client | None:
    query = select(oauth_clients).where(oauth_clients.c.client_id == client_id)
    row: Any = conn.execute(query).one_or_none()
    if row is None:
        return None
    return Client(
        client_id=row.client_id,
        name=row.name,
        kind="registered",
        account_id=row.account_id,
        secret_digest=row.secret_digest,
        redirect_uris=tuple(row.redirect_uris.split()),
        grant_types=tuple(row.grant_types.split()),
        scope=frozenset(row.scope.split()),
        digest_of=vault.digest,
    )


def _machine(conn: Connection, vault: Vault, client_id: str) -> Client | None:
    query = (
        select(service_accounts, workspaces.c.account_id)
        .join(workspaces, workspaces.c.name == service_accounts.c.workspace)
        .where(service_accounts.c.client_id == client_id)
    )
    row: Any = conn.execute(query).one_or_none()
    if row is None:
        return None
    return Client(
        client_id=row.client_id,
        name=row.name,
        kind="service account",
        account_id=row.account_id,
        secret_digest=row.secret_digest,
        grant_types=(MACHINE, REFRESH),
        scope=frozenset(RESOURCE_SCOPES) | {scopes.OFFLINE},
        workspace=row.workspace,
        digest_of=vault.digest,
    )
