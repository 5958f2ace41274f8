"""People see which applications and devices act for them, and end them at once."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from identity.conftest import done, refused
from serai.identity import grants
from serai.oauth import codes, keeper, refresh_tokens
from serai.store.tables import oauth as tables

from .conftest import Json, Tenant, basic, failed, refresh_body

ALL = "/v0/profile/grants"


def someone(tenant: Tenant) -> tuple[Any, str]:
    """A person with nothing that acts for them yet."""
    return tenant.new_user(tenant.admin)


def test_what_acts_for_a_person_is_seen_and_ended(tenant: Tenant) -> None:
    api, sub = someone(tenant)
    assert done(api.get(ALL)) == []
    tokens = tenant.sign_in(user_id=sub)
    client = tenant.register(name="Dashboard")
    params = {"response_type": "code", "client_id": client["client_id"], "scope": "openid"}
    code = tenant.answer(params, user_id=sub, bound=True)["code"]
    body = {"grant_type": "authorization_code", "code": code}
    tenant.tokens(body, headers=basic(client))
    shown = {one["clientName"]: one for one in done(api.get(ALL))}
    assert shown.keys() == {"Dashboard", "Blaxel command line and SDKs"}
    assert shown["Dashboard"]["scopes"] == ["openid"]
    assert (shown["Dashboard"]["bound"], shown["Dashboard"]["workspace"]) == (True, "main")
    mine = shown["Blaxel command line and SDKs"]
    assert (mine["clientId"], mine["kind"], mine["current"]) == ("blaxel", "application", False)
    assert mine["userAgent"].startswith("python-httpx")
    assert mine["address"] == "127.0.0.1"

    cli = tenant.client(tokens["access_token"])
    assert [one["current"] for one in done(cli.get(ALL)) if one["id"] == mine["id"]] == [True]
    assert done(api.delete(f"{ALL}/{mine['id']}"))["id"] == mine["id"]
    assert not tenant.works(tokens["access_token"])
    failed(tenant.token(refresh_body(tokens["refresh_token"])), "invalid_grant")
    refused(api.delete(f"{ALL}/{mine['id']}"), 404, "GRANT_NOT_FOUND")
    assert [one["clientName"] for one in done(api.delete(ALL))] == ["Dashboard"]
    assert done(api.get(ALL)) == []


def test_devices_are_told_from_applications(tenant: Tenant) -> None:
    _, tokens = tenant.device_sign_in()
    shown = done(tenant.client(tokens["access_token"]).get(ALL))
    assert [one["kind"] for one in shown if one["current"]] == ["device"]


def test_nobody_ends_what_acts_for_others(tenant: Tenant, machine: Json) -> None:
    tokens = tenant.sign_in()
    theirs = done(tenant.admin.get(ALL))[0]["id"]
    api, _ = someone(tenant)
    refused(api.delete(f"{ALL}/{theirs}"), 404, "GRANT_NOT_FOUND")
    assert tenant.works(tokens["access_token"])
    own = tenant.tokens({"grant_type": "client_credentials"}, headers=basic(machine))
    answer = tenant.client(own["access_token"]).get(ALL)
    refused(answer, 403, "FORBIDDEN")


def test_a_narrow_application_cannot_end_others(tenant: Tenant) -> None:
    api = tenant.client(tenant.sign_in("agents:list")["access_token"])
    refused(api.get(ALL), 403, "INSUFFICIENT_SCOPE")
    refused(api.delete(ALL), 403, "INSUFFICIENT_SCOPE")


def test_the_audit_log_tells_of_grants(tenant: Tenant) -> None:
    _, tokens = tenant.device_sign_in()
    headers = {"client_id": "blaxel", "token": tokens["refresh_token"]}
    done(tenant.ask("/v0/oauth/revoke", headers))
    log = done(tenant.admin.get("/v0/audit", params={"kind": "oauth_grant", "limit": 2}))["data"]
    assert [one["action"] for one in log] == ["revoke", "grant"]
    given = log[1]
    assert given["actor"] == "admin@localhost"
    assert given["resource"]["name"] == "blaxel"
    assert given["client"] == "127.0.0.1"
    assert {one["path"]: one.get("after") for one in given["changes"]} == {
        "": {"client": "blaxel", "scope": "admin"}
    }
    assert not [value for value in tokens.values() if str(value) in str(log)]


def test_a_deleted_machine_has_no_tokens_left(tenant: Tenant) -> None:
    machine = done(tenant.admin.post("/v0/service_accounts", json={"name": "short"}))
    body = {"grant_type": "client_credentials"}
    tokens = tenant.tokens(body, headers=basic(machine))
    done(tenant.admin.delete(f"/v0/service_accounts/{machine['client_id']}"))
    assert not tenant.works(tokens["access_token"])
    failed(tenant.token(body, headers=basic(machine)), "invalid_client")


def test_what_is_spent_is_forgotten_in_time(tenant: Tenant) -> None:
    tokens = tenant.sign_in()
    tenant.tokens(refresh_body(tokens["refresh_token"]))
    at = datetime.now(UTC)

    def rows(conn: Connection) -> list[int]:
        kinds = (tables.oauth_codes, tables.oauth_refresh_tokens, tables.oauth_grants)
        return [conn.execute(select(func.count()).select_from(kind)).scalar_one() for kind in kinds]

    def after(conn: Connection, later: timedelta) -> list[int]:
        with conn.begin_nested() as savepoint:
            keeper.prune(conn, at + later)
            found = rows(conn)
            savepoint.rollback()
        return found

    def look(conn: Connection) -> tuple[list[int], ...]:
        kept = codes.KEPT - timedelta(minutes=5)
        ended = grants.LIFETIME + grants.KEPT + timedelta(minutes=5)
        return rows(conn), after(conn, kept), after(conn, refresh_tokens.KEPT), after(conn, ended)

    now, day, month, later = tenant.write(look)
    assert now == day, "a replay within a day is still seen as one"
    assert (now[0] > 0, month[0]) == (True, 0)
    assert month[1] < now[1], "used refresh tokens"
    assert later == [0, 0, 0]
