"""Prices, files, budgets and statements of an account, over HTTP against a real server."""

import csv
import io
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from platform_server import KEY, Server
from receiver import receiver
from serai.metering.dimensions import SANDBOX_RUNTIME
from serai.metering.events import Series, UsageEvent
from serai.metering.records import record
from serai.metering.store import UsageStore
from serai.metering.times import HOUR, millis
from serai.store.database import Database
from serai.store.tables.identity import accounts

GB_HOUR = 1024 * HOUR
THIS_MONTH = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
LAST_MONTH = (THIS_MONTH - timedelta(days=1)).replace(day=1)


def age(server: Server) -> None:
    """Make a stopped server's account older: it began four months ago."""
    db = Database(server.data_dir / "serai.db")
    db.open()
    began = f"{THIS_MONTH - timedelta(days=100):%Y-%m-%dT%H:%M:%S.000Z}"
    db.submit(lambda conn: conn.execute(accounts.update().values(created_at=began))).result()
    db.close()


def use(server: Server, account: str, at: datetime, name: str = "box") -> None:
    """An hour of a sandbox with 1 GB."""
    start = millis(at) // HOUR * HOUR
    series = Series(
        account_id=account,
        workspace="main",
        resource_type="sandbox",
        resource_name=name,
        resource_id=f"id-{name}",
        dimension=SANDBOX_RUNTIME,
    )
    event = UsageEvent(
        id=f"{name}/{start}", series=series, start=start, end=start + HOUR, quantity=GB_HOUR
    )
    store = UsageStore(server.data_dir)
    store.open()
    store.submit(lambda conn: record(conn, [event])).result()
    store.close()


class Billed:
    """A server whose account used something last month and this month."""

    def __init__(self, server: Server) -> None:
        server.environ["SERAI_USAGE_EVENT_RETENTION"] = "400"  # else last month comes too late
        self.server = server.start()
        self.id = str(self.server.client.get("/v0/accounts").json()[0]["id"])
        self.server.stop()
        age(server)
        use(server, self.id, LAST_MONTH + timedelta(days=3))
        use(server, self.id, THIS_MONTH)
        self.server.start()
        self.api = httpx.Client(
            base_url=f"{server.url}/v0/accounts/{self.id}",
            headers={"Authorization": f"Bearer {KEY}"},
            trust_env=False,
            timeout=30,
        )
        self.api.post(f"/statements/{LAST_MONTH:%Y-%m}/close").raise_for_status()


@pytest.fixture(scope="module")
def billed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Billed]:
    server = Server(tmp_path_factory.mktemp("billed") / "data")
    yield Billed(server)
    server.stop()


@pytest.fixture
def member(billed: Billed) -> Iterator[httpx.Client]:
    """Somebody of the workspace who is no admin of the account."""
    api = billed.server.client
    machine = api.post("/v0/service_accounts", json={"name": "reader"}).json()["client_id"]
    key = api.post(f"/v0/service_accounts/{machine}/api_keys", json={"name": "k"}).json()["apiKey"]
    with httpx.Client(
        base_url=str(billed.api.base_url),
        headers={"Authorization": f"Bearer {key}"},
        trust_env=False,
        timeout=30,
    ) as client:
        yield client


def months() -> dict[str, str]:
    """Last month and this one."""
    end = THIS_MONTH + timedelta(days=32)
    return {"startTime": f"{LAST_MONTH:%FT%TZ}", "endTime": f"{end:%FT%TZ}"}


def total(billed: Billed, **params: str) -> float:
    answer = billed.api.get("/metrics", params=months() | params)
    assert answer.status_code == 200, answer.text
    return float(answer.json()["summary"]["totalCost"])


def test_prices_are_set_read_and_dropped(billed: Billed) -> None:
    assert total(billed) == 0.0828
    before = billed.api.get("/prices").json()
    assert (before["currency"], before["prices"]) == ("USD", [])
    listed = {one["billingDimension"]: one for one in before["inherited"]}
    assert listed[SANDBOX_RUNTIME]["perUnit"] == "0.0000115"
    assert listed["sandbox_snapshot_storage_gbs"]["perGbMonth"] == "0.2"
    price = {"billingDimension": SANDBOX_RUNTIME, "perUnit": "0.00000001"}
    later = {**price, "perUnit": 0.001, "from": f"{THIS_MONTH:%Y-%m-%d}"}
    body = {"currency": "chf", "prices": [price, later]}
    after = billed.api.put("/prices", json=body)
    assert after.status_code == 200, after.text
    assert after.json()["prices"] == [price, {**later, "perUnit": "0.001"}]
    assert after.json()["currency"] == "CHF"
    answer = billed.api.get("/metrics", params=months() | {"listPrice": "true"}).json()
    assert answer["currency"] == "CHF"
    assert answer["summary"] == {"totalCost": 3.600036, "totalListCost": 0.0828}
    billed.server.stop()
    billed.server.start()
    assert total(billed) == 3.600036
    assert billed.api.put("/prices", json=after.json()).json() == after.json()
    assert billed.api.delete("/prices").json() == before
    assert total(billed) == 0.0828


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "prices"),
        ({"prices": [{}]}, "billingDimension"),
        ({"prices": [{"billingDimension": "moonlight", "perUnit": 1}]}, "billingDimension"),
        ({"prices": [{"billingDimension": SANDBOX_RUNTIME}]}, "perUnit"),
        ({"prices": [{"billingDimension": SANDBOX_RUNTIME, "perUnit": -1}]}, "zero or more"),
        ({"prices": [{"billingDimension": SANDBOX_RUNTIME, "perUnit": "x"}]}, "perUnit"),
        ({"prices": [], "currency": "dollars"}, "currency"),
    ],
)
def test_a_wrong_price_list_is_refused_and_changes_nothing(
    billed: Billed, body: dict[str, object], named: str
) -> None:
    answer = billed.api.put("/prices", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, 400)
    assert named in answer.json()["message"]
    assert billed.api.get("/prices").json()["prices"] == []


def test_what_is_for_account_admins_is_refused_to_members(
    billed: Billed, member: httpx.Client
) -> None:
    assert member.get("/prices").status_code == 200
    assert member.get("/metrics", params=months()).status_code == 200
    assert member.get("/metrics/export", params=months()).status_code == 200
    budget = {"name": "b", "amount": 1, "thresholds": [{"percent": 1}], "webhookUrl": "http://x/"}
    for answer in (
        member.get("/metrics", params=months() | {"workspace": "main"}),
        member.get("/metrics", params=months() | {"groupBy": "resource_type,workspace"}),
        member.get("/metrics/export", params=months() | {"groupBy": "workspace"}),
        member.get("/metrics/export", params=months() | {"format": "focus"}),
        member.put("/prices", json={"prices": []}),
        member.delete("/prices"),
        member.get("/budgets"),
        member.post("/budgets", json=budget),
        member.get("/statements"),
        member.get("/statements/2026-01"),
        member.post("/statements/2026-01/close"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, 403), answer.request.url
        assert answer.json()["message"].startswith("Access denied")


def test_metrics_come_as_files(billed: Billed) -> None:
    params = months() | {"groupBy": "resource_uuid", "resolution": "daily"}
    for answer in (
        billed.api.get("/metrics", params=params, headers={"Accept": "text/csv"}),
        billed.api.get("/metrics/export", params=params),
    ):
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert "attachment" in answer.headers["content-disposition"]
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [row["cost"] for row in rows] == ["0.0414", "0.0414"]
        assert {row["resourceUuid"] for row in rows} == {"id-box"}
    focus = billed.api.get("/metrics/export", params=months() | {"format": "focus"})
    rows = list(csv.DictReader(io.StringIO(focus.text)))
    assert [row["BilledCost"] for row in rows] == ["0.0414", "0.0414"]
    assert rows[0]["BillingPeriodStart"] == f"{LAST_MONTH:%FT%TZ}"
    assert rows[0]["BillingAccountId"] == billed.id


@pytest.mark.parametrize(
    "change",
    [
        {"format": "xml"},
        {"limit": "5"},
        {"cursor": "x"},
        {"format": "focus", "groupBy": "resource_type"},
        {"format": "focus", "resolution": "weekly"},
        {"unit": "gbs"},
        {"endTime": "2026"},
    ],
)
def test_a_wrong_file_is_refused_before_it_begins(billed: Billed, change: dict[str, str]) -> None:
    answer = billed.api.get("/metrics/export", params=months() | change)
    assert (answer.status_code, answer.json()["code"]) == (400, 400)
    assert list(change)[-1] in answer.json()["message"]


def test_a_month_is_closed_once(billed: Billed) -> None:
    month = f"{LAST_MONTH:%Y-%m}"
    answer = billed.api.post(f"/statements/{month}/close")
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    (line,) = shown["lines"]
    assert line["cost"] == shown["total"] == "0.0414"
    assert (line["usage"], line["unit"], line["price"]) == ("3600", "gbs", "0.0000115")
    assert billed.api.put(
        "/prices", json={"prices": [{"billingDimension": SANDBOX_RUNTIME, "perUnit": 7}]}
    ).is_success
    assert billed.api.post(f"/statements/{month}/close").json() == shown
    assert billed.api.get(f"/statements/{month}").json() == shown
    billed.api.delete("/prices")
    listed = billed.api.get("/statements").json()
    assert [one["month"] for one in listed] == sorted((m["month"] for m in listed), reverse=True)
    assert listed[0] == {name: value for name, value in shown.items() if name != "lines"}
    file = billed.api.get(f"/statements/{month}", headers={"Accept": "text/csv"})
    (row,) = csv.DictReader(io.StringIO(file.text))
    assert (row["kind"], row["cost"], row["currency"]) == ("usage", "0.0414", "USD")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/statements/2026-13", 400),
        ("/statements/x", 400),
        ("/statements/2020-01", 404),
        (f"/statements/{THIS_MONTH:%Y-%m}", 404),
    ],
)
def test_months_without_a_statement(billed: Billed, path: str, status: int) -> None:
    assert billed.api.get(path).status_code == status
    assert billed.api.post(f"{path}/close").status_code == (400 if status == 400 else 409)


def test_a_budget_lives_through_its_operations(billed: Billed) -> None:
    body = {
        "name": "team",
        "amount": "0.1",
        "workspace": "main",
        "thresholds": [{"percent": 90}, {"amount": 100}],
        "webhookUrl": "http://127.0.0.1:9/",
    }
    made = billed.api.post("/budgets", json=body)
    assert made.status_code == 200, made.text
    shown = made.json()
    assert shown.pop("secret").startswith("whsec_")
    assert (shown["spent"], shown["percent"], shown["currency"]) == ("0.0414", "41.4", "USD")
    assert shown["period"] == f"{THIS_MONTH:%Y-%m}"
    assert shown["thresholds"] == [{"percent": "90"}, {"amount": "100"}]
    assert billed.api.get("/budgets/team").json() == shown
    assert billed.api.get("/budgets").json() == [shown]
    again = billed.api.post("/budgets", json=body)
    assert (again.status_code, again.json()["code"]) == (409, 409)
    changed = billed.api.put("/budgets/team", json=shown | {"amount": 1, "resourceType": "job"})
    assert (changed.json()["amount"], changed.json()["spent"]) == ("1", "0")
    assert billed.api.put("/budgets/team", json=body | {"name": "x"}).status_code == 400
    assert billed.api.put("/budgets/team", json=body | {"thresholds": []}).status_code == 400
    assert billed.api.delete("/budgets/team").json()["name"] == "team"
    for answer in (billed.api.get("/budgets/team"), billed.api.delete("/budgets/team")):
        assert (answer.status_code, answer.json()["code"]) == (404, 404)


def test_a_crossed_threshold_survives_a_crash_with_its_one_id(
    new_server: Callable[..., Server],
) -> None:
    billed = Billed(new_server())
    with receiver() as hook:
        hook.statuses = [503]
        body = {
            "name": "all",
            "amount": "0.05",
            "thresholds": [{"percent": 80}, {"percent": 100}],
            "webhookUrl": hook.url,
        }
        assert billed.api.post("/budgets", json=body).status_code == 200
        assert hook.arrived.wait(20)
        alert = wait_for(billed, "pending", 1)
        assert "503" in alert["problem"]
        hook.arrived.clear()
        billed.server.kill()
        billed.server.start()
        assert hook.arrived.wait(20)
        assert wait_for(billed, "delivered", 2)["id"] == alert["id"]
        sent = [call.headers["webhook-id"] for call in hook.received]
        assert sent == [alert["id"]] * 2
        assert json.loads(hook.received[0].body)["data"]["spent"] == "0.0414"


def wait_for(billed: Billed, state: str, attempts: int) -> dict[str, str]:
    """The alert of the first threshold, once it is in that state; the other one has none."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        first, second = billed.api.get("/budgets/all").json()["thresholds"]
        alert: dict[str, str] = first.get("alert", {})
        if (alert.get("state"), alert.get("attempts")) == (state, attempts):
            assert "alert" not in second
            return alert
        time.sleep(0.05)
    raise AssertionError(f"not {state}: {billed.api.get('/budgets/all').text}")


def test_private_webhooks_can_be_switched_off(new_server: Callable[..., Server]) -> None:
    billed = Billed(new_server(SERAI_PRIVATE_WEBHOOKS="false"))
    with receiver() as hook:
        body = {
            "name": "all",
            "amount": "0.05",
            "thresholds": [{"percent": 80}, {"percent": 100}],
            "webhookUrl": hook.url,
        }
        billed.api.post("/budgets", json=body)
        assert "must not call" in wait_for(billed, "pending", 1)["problem"]
        assert hook.received == []
