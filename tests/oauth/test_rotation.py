"""Refresh tokens are good once: what a thief with a copy of one can, and cannot, do."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection

from platform_server import Server
from serai.api.exchange import Origin
from serai.identity import accounts, grants, signing_keys
from serai.identity.access_tokens import AccessTokens
from serai.identity.authenticator import CredentialAuthenticator
from serai.identity.signing_keys import KeyRing
from serai.oauth import clients
from serai.oauth.context import OAuth
from serai.oauth.protocol import ProtocolRequest
from serai.oauth.server import Provider
from serai.store.database import Database
from serai.store.secrets import Vault

from .conftest import EXACTLY, Tenant, failed, refresh_body

START = datetime.now(UTC).replace(microsecond=0)


class Installation:
    """A database with one person, and the provider on it, with a clock that tests turn."""

    def __init__(self, folder: Path) -> None:
        self.db = Database(folder / "serai.db")
        self.db.open()
        vault = Vault.open(folder / "master.key")
        ring = KeyRing(self.db, vault)
        tokens = AccessTokens(ring, "https://serai.example/v0", "https://serai.example")
        authenticator = CredentialAuthenticator(self.db, vault, tokens)
        self.oauth = OAuth(self.db, vault, tokens, authenticator, "https://serai.example")
        self.person = self.db.submit(self._fill).result()
        ring.reload()

    def _fill(self, conn: Connection) -> str:
        signing_keys.maintain(conn, self.oauth.vault, START)
        account = accounts.create_account(conn, "first")
        accounts.create_workspace(conn, account, "main", "me@example.com")
        return accounts.create_user(conn, account, "me@example.com", account_admin=True)

    def connect(self) -> Connection:
        """A connection whose transaction nobody commits."""
        return self.db._engine.connect()


class Rotation(RuleBasedStateMachine):
    """A client that keeps its refresh token in a file, and a thief who gets copies.

    The client reads the file, refreshes and writes the new token back; sometimes two of its
    processes do that at once, sometimes an answer gets lost. The thief gets a copy of any token
    that the client ever received, whenever it likes, and uses what it has however it likes.

    **No stolen token stays alive.** A token's depth is the number of refreshes it is away from
    the sign-in. Let ``stolen`` be the depth of the deepest token that the thief copied, and
    ``used`` that of the deepest token with which the client has refreshed successfully. Then,
    after every step:

    1. if ``used > stolen``, nothing that the thief holds, copied or got by refreshing, can be
       refreshed: the client's next but one refresh after a theft ends it at the latest;
    2. if the provider has refused a token that it once gave to the client or, by a refresh, to
       the thief, nothing that anybody holds can be refreshed, and the grant of all access tokens
       is revoked: who comes second with a token that both used ends it for both;
    3. no token can be refreshed more than a minute after its first use.

    **Honest clients keep their session**: unless a token was stolen, an answer got lost for more
    than a minute, the grant was revoked or not used for 30 days, no refresh is refused.
    """

    def __init__(self, installation: Installation) -> None:
        super().__init__()
        self.oauth = installation.oauth
        self.conn = installation.connect()
        self.at = START
        self.depth: dict[str, int] = {}
        self.first_use: dict[str, datetime] = {}
        self.received: list[str] = []
        self.thieves: list[str] = []
        self.stolen = self.used = -1
        self.over = self.excused = False
        self.lost_at: datetime | None = None
        provider = self.provider()
        self.grant = provider.give(
            clients.BUILT_IN, "admin", user_id=installation.person, workspace="main"
        )
        self.file = provider.first_answer(clients.BUILT_IN, self.grant)["refresh_token"]
        self.depth[self.file] = 0
        self.received.append(self.file)

    def provider(self) -> Provider:
        return Provider(self.oauth, self.conn, self.at, Origin())

    def refresh(self, token: str) -> str | None:
        """Another token for this one; ``None`` when it is refused."""
        request = ProtocolRequest(refresh_body(token))
        answer = self.provider().create_token_response(request)
        if answer.status == 200:
            following = str(answer.body["refresh_token"])
            self.depth[following] = self.depth[token] + 1
            self.first_use.setdefault(token, self.at)
            return following
        assert (answer.status, answer.body["error"]) == (400, "invalid_grant")
        return None

    def client_refresh(self, *, keeps: bool = True) -> str | None:
        token, following = self.file, self.refresh(self.file)
        if following is None:
            self.over = True
            assert self.excused, "an honest client lost its session"
            return None
        self.used = max(self.used, self.depth[token])
        self.received.append(following)
        if keeps:
            self.lost_at = None
        return following

    @rule()
    def refreshes(self) -> None:
        self.file = self.client_refresh() or self.file

    @rule(seconds=st.integers(0, 60))
    def two_processes_refresh_at_once(self, seconds: int) -> None:
        if self.lost_at is not None:
            return
        first = self.client_refresh()
        self.at += timedelta(seconds=seconds)
        second = self.client_refresh()
        self.file = second or first or self.file

    @rule()
    def an_answer_gets_lost(self) -> None:
        self.client_refresh(keeps=False)
        self.lost_at = self.lost_at or self.at

    @rule(data=st.data())
    def a_token_is_stolen(self, data: st.DataObject) -> None:
        newest = self.received[-4:]
        token = data.draw(st.sampled_from(newest))
        self.thieves.append(token)
        self.stolen = max(self.stolen, self.depth[token])
        self.excused = True

    @precondition(lambda self: self.thieves)
    @rule(data=st.data())
    def the_thief_refreshes(self, data: st.DataObject) -> None:
        following = self.refresh(data.draw(st.sampled_from(self.thieves)))
        if following is None:
            self.over = True
        else:
            self.thieves.append(following)

    @rule(seconds=st.sampled_from([1, 20, 59, 60, 61, 7200]))
    def time_passes(self, seconds: int) -> None:
        self.at += timedelta(seconds=seconds)
        if self.lost_at is not None and self.at - self.lost_at > timedelta(seconds=60):
            self.excused = True

    @precondition(lambda self: not self.over)
    @rule(away=st.booleans())
    def the_person_ends_it_or_stays_away(self, away: bool) -> None:
        if away:
            self.at += grants.LIFETIME
        else:
            grants.revoke(self.conn, self.grant.id)
        self.over = self.excused = True

    @invariant()
    def no_stolen_token_stays_alive(self) -> None:
        if self.used > self.stolen or self.over:
            assert not [token for token in self.thieves[-6:] if self.lives(token)]
        if self.over:
            assert not self.lives(self.file)
            assert grants.find(self.conn, self.grant.id, self.at) is None

    @invariant()
    def nothing_is_good_again_after_a_minute(self) -> None:
        minute_ago = self.at - timedelta(seconds=60)
        spent = [token for token, at in self.first_use.items() if at < minute_ago]
        assert not [token for token in spent[-2:] if self.lives(token)]

    def lives(self, token: str) -> bool:
        """Whether a refresh would work; it is undone."""
        known = dict(self.depth), dict(self.first_use)
        savepoint = self.conn.begin_nested()
        try:
            return self.refresh(token) is not None
        finally:
            savepoint.rollback()
            self.depth, self.first_use = known

    def teardown(self) -> None:
        self.conn.rollback()
        self.conn.close()


def test_no_thief_keeps_a_token_alive(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    run_state_machine_as_test(
        lambda: Rotation(installation),
        settings=settings(
            max_examples=40,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    installation.db.close()


def test_a_stolen_token_over_http(tenant: Tenant) -> None:
    """The thief is faster, then the owner comes: both are out, and the log says why."""
    first = tenant.sign_in()
    stolen = tenant.tokens(refresh_body(first["refresh_token"]))
    mine = tenant.tokens(refresh_body(first["refresh_token"]))
    assert tenant.works(mine["access_token"])
    theirs = tenant.tokens(refresh_body(stolen["refresh_token"]))
    assert tenant.works(theirs["access_token"])
    text = failed(tenant.token(refresh_body(mine["refresh_token"])), "invalid_grant")
    assert "somebody else" in text
    for tokens in (first, stolen, mine, theirs):
        assert not tenant.works(tokens["access_token"])
        failed(tenant.token(refresh_body(tokens["refresh_token"])), "invalid_grant")
    [entry] = tenant.admin.get("/v0/audit", params={"action": "reuse", "limit": 1}).json()["data"]
    assert entry["resource"]["kind"] == "oauth_grant"
    assert entry["actor"] == "admin@localhost"


def test_many_processes_of_one_client_refresh_at_once(tenant: Tenant) -> None:
    first = tenant.sign_in()
    body = refresh_body(first["refresh_token"])
    with ThreadPoolExecutor(8) as pool:
        answers = [one.result() for one in [pool.submit(tenant.tokens, body) for _ in range(8)]]
    assert len({one["refresh_token"] for one in answers}) == 8
    assert all(tenant.works(one["access_token"]) for one in answers)
    last = answers[-1]
    for _ in range(3):
        last = tenant.tokens(refresh_body(last["refresh_token"]))
    assert tenant.works(last["access_token"])


def test_tokens_survive_a_restart(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    tenant = Tenant(server)
    tokens = tenant.sign_in()
    server.kill()
    server.start()
    assert tenant.works(tokens["access_token"])
    assert tenant.tokens(refresh_body(tokens["refresh_token"])).keys() == EXACTLY
    tenant.close()


def test_reusable_device_tokens(new_server: Callable[..., Server]) -> None:
    """For many processes that share a configuration file which none of them writes."""
    server = new_server(SERAI_REUSABLE_DEVICE_TOKENS="true").start()
    tenant = Tenant(server)
    code, tokens = tenant.device_sign_in()
    body = refresh_body(tokens["refresh_token"])
    for _ in range(3):
        again = tenant.tokens(body | {"device_code": code})
        assert again["refresh_token"] == ""
        assert again.keys() == EXACTLY
        assert tenant.works(again["access_token"])
    failed(tenant.token(body | {"device_code": "bld_other"}), "invalid_grant")
    following = tenant.tokens(body)["refresh_token"]
    assert following, "without the device code it rotates as ever"
    tenant.tokens(refresh_body(following))
    failed(tenant.token(body | {"device_code": code}), "invalid_grant")
    assert not tenant.works(tokens["access_token"])
    tenant.close()


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def make(**environ: str) -> Server:
        made.append(Server(tmp_path / f"data-{len(made)}", **environ))
        return made[-1]

    yield make
    for one in made:
        one.stop()
