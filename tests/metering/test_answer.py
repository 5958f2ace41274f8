"""The billing answer equals what adding up single pieces of usage by hand gives."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from serai.billing import operations
from serai.identity.principal import Principal
from serai.kernel.errors import BadRequest, Forbidden, NotFound
from serai.metering.dimensions import MODEL_OUTPUT_TOKENS, SANDBOX_RUNTIME
from serai.metering.models import ModelCall, UsageBuffer
from serai.metering.prices import PriceList
from serai.metering.query import GROUPINGS
from serai.store.tables import identity
from serai.store.tables.usage import usage_events

from .told import ToldMeter

NOW = datetime(2026, 4, 28, 12, 30, 5, tzinfo=UTC)
METER = ToldMeter()
PRICES = PriceList.of(
    {
        "price": [
            {"dimension": SANDBOX_RUNTIME, "per_unit": "0.0001", "from": "2026-04-25"},
            {"dimension": MODEL_OUTPUT_TOKENS, "per_million": "2", "provider": "openai"},
            {"dimension": MODEL_OUTPUT_TOKENS, "per_million": "7", "model": "m1"},
        ]
    }
)


def principal(account="acc", admin=True, workspaces=("main",)):
    return Principal(
        subject="u",
        email="u@example.org",
        account_id=account,
        account_admin=admin,
        workspaces=dict.fromkeys(workspaces, "member"),
        credential_id="k",
    )


def opened(conn, name="box", workspace="main", account="acc", at=NOW, memory=1024):
    METER.open(
        conn,
        resource_id=f"id-{account}-{name}",
        account_id=account,
        workspace=workspace,
        name=name,
        memory_mb=memory,
        at=at,
    )


def window(start=NOW - timedelta(hours=1), end=NOW + timedelta(hours=1), **more):
    times = {"startTime": [start.isoformat()], "endTime": [end.isoformat()]}
    return {**times, **{name: [str(value)] for name, value in more.items()}}


async def asked(db, now=NOW, caller=None, prices=None, account="acc", **params):
    caller = caller or principal()
    given = window(**params)
    answer = await db.read(
        lambda conn: operations.get_account_metrics(
            conn, caller, account, given, prices or PriceList(), now
        )
    )
    return msgspec.json.decode(msgspec.json.encode(answer))


async def test_a_sandbox_that_just_ran_three_seconds_is_in_the_answer(db):
    await db.write(opened)
    answer = await asked(db, NOW + timedelta(seconds=3))
    assert answer["summary"] == {"totalCost": 0.0000345}
    await db.write(lambda conn: METER.close(conn, "id-acc-box", NOW + timedelta(seconds=3)))
    assert await asked(db, NOW + timedelta(seconds=3)) == answer
    assert [point["cost"] for point in answer["data"][0]["timeseries"]] == [0.0, 0.0000345, 0.0]


async def test_the_shape_of_an_answer(db):
    await db.write(opened)
    answer = await asked(
        db,
        NOW + timedelta(seconds=2),
        start=datetime(2026, 4, 28, 12, tzinfo=UTC),
        end=datetime(2026, 4, 28, 14, tzinfo=UTC),
        groupBy="billing_dimension,resource_uuid",
    )
    assert answer == {
        "startTime": "2026-04-28T12:00:00Z",
        "endTime": "2026-04-28T14:00:00Z",
        "resolution": "hourly",
        "summary": {"totalCost": 0.000023, "totalUsage": 2.0},
        "data": [
            {
                "workspace": "main",
                "resourceType": "sandbox",
                "resourceName": "box",
                "resourceUuid": "id-acc-box",
                "billingDimension": SANDBOX_RUNTIME,
                "summary": {"cost": 0.000023, "usage": 2.0},
                "timeseries": [
                    {"timestamp": "2026-04-28T12:00:00Z", "cost": 0.000023, "usage": 2.0},
                    {"timestamp": "2026-04-28T13:00:00Z", "cost": 0.0, "usage": 0.0},
                ],
            }
        ],
        "meta": {"hasMore": False, "nextCursor": ""},
    }


async def test_nothing_used_is_one_entry_of_zeros_or_no_group(db):
    answer = await asked(db)
    assert answer["summary"] == {"totalCost": 0.0}
    assert [point["cost"] for point in answer["data"][0]["timeseries"]] == [0.0, 0.0, 0.0]
    assert (await asked(db, groupBy="resource_type"))["data"] == []


async def test_what_ended_where_the_window_begins_is_no_group(db):
    await db.write(opened)
    ended = NOW + timedelta(seconds=10)
    await db.write(lambda conn: METER.close(conn, "id-acc-box", ended))
    inside = await asked(db, start=ended - timedelta(seconds=1), groupBy="resource_name")
    assert inside["summary"] == {"totalCost": 0.0000115}
    assert (await asked(db, start=ended, groupBy="resource_name"))["data"] == []


async def test_a_name_in_two_workspaces_is_one_group_without_a_workspace(db):
    await db.write(lambda conn: opened(conn, "box"))
    await db.write(
        lambda conn: METER.open(
            conn,
            resource_id="other",
            account_id="acc",
            workspace="second",
            name="box",
            memory_mb=1024,
            at=NOW,
        )
    )
    now = NOW + timedelta(seconds=1)
    (entry,) = (await asked(db, now, groupBy="resource_name"))["data"]
    assert entry["resourceName"] == "box"
    assert entry["resourceType"] == "sandbox"
    assert "workspace" not in entry
    assert entry["summary"]["cost"] == 0.000023
    entries = (await asked(db, now, groupBy="workspace"))["data"]
    assert [entry["workspace"] for entry in entries] == ["main", "second"]


async def test_other_accounts_are_neither_answered_nor_counted(db):
    for account in ("acc", "rival"):
        await db.write(lambda conn, a=account: opened(conn, account=a))
        await db.write(lambda conn: METER.tick(conn, NOW + timedelta(seconds=2)))
    now = NOW + timedelta(seconds=3)
    for grouping in ("", *GROUPINGS):
        answer = await asked(db, now, groupBy=grouping)
        assert answer["summary"]["totalCost"] == 0.0000345
        assert "rival" not in str(answer)
    assert (await asked(db, now, resourceUuid="id-rival-box"))["summary"]["totalCost"] == 0
    with pytest.raises(NotFound):
        await asked(db, now, account="rival")


async def test_members_see_their_workspaces_and_may_not_split_by_workspace(db):
    await db.write(lambda conn: opened(conn, "a", "main"))
    await db.write(lambda conn: opened(conn, "b", "second"))
    await db.write(lambda conn: METER.tick(conn, NOW + timedelta(seconds=1)))
    member = principal(admin=False)
    now = NOW + timedelta(seconds=2)
    assert (await asked(db, now))["summary"]["totalCost"] == 0.000046
    assert (await asked(db, now, caller=member))["summary"]["totalCost"] == 0.000023
    assert (await asked(db, now, workspace="second"))["summary"]["totalCost"] == 0.000023
    for params in ({"workspace": "main"}, {"groupBy": "resource_type,workspace"}):
        with pytest.raises(Forbidden, match="Access denied"):
            await asked(db, now, caller=member, **params)


async def test_model_usage_is_priced_by_provider_and_model(db):
    buffer = UsageBuffer()
    for name, provider in (("m1", "openai"), ("m2", "openai"), ("m3", "local")):
        buffer.add(
            ModelCall(
                account_id="acc",
                workspace="main",
                resource_id=f"id-{name}",
                model_name=name,
                request_id="r",
                started=NOW.timestamp() - 60,
                input_tokens=5,
                output_tokens=1_000_000,
                total_tokens=1_000_005,
                counted=True,
                status=200,
                provider=provider,
            )
        )
    await buffer.save(db)
    answer = await asked(db, prices=PRICES, groupBy="resource_name")
    costs = {entry["resourceName"]: entry["summary"]["cost"] for entry in answer["data"]}
    assert costs == {"m1": 7.0, "m2": 2.0, "m3": 0.0}
    assert (await asked(db, prices=PRICES))["summary"]["totalCost"] == 9.0


async def test_the_values_of_parameters_can_be_asked_for(db, platform):
    await db.write(opened)
    await platform.write(lambda conn: conn.execute(identity.accounts.insert(), [ACCOUNT, RIVAL]))

    def values(conn, **params):
        now = NOW + timedelta(seconds=1)
        return operations.list_resource_types(
            conn, principal(), "acc", window(**params), now
        ).values

    assert await db.read(values) == ["sandbox"]
    assert await db.read(lambda conn: values(conn, end=NOW)) == []
    assert operations.list_groupings(principal(), "acc").values == list(GROUPINGS)
    with pytest.raises(NotFound):
        operations.list_groupings(principal(), "rival")
    with pytest.raises(BadRequest, match="endTime"):
        await db.read(
            lambda conn: operations.list_resource_types(
                conn, principal(), "acc", {"startTime": ["2026-05-01T00:00:00Z"]}, NOW
            )
        )
    found = await platform.read(lambda conn: operations.list_accounts(conn, principal()))
    assert [account.id for account in found] == ["acc"]


ACCOUNT = {
    "id": "acc",
    "name": "Acme",
    "currency": "USD",
    "created_at": "2026-01-01T00:00:00.000Z",
}
RIVAL = {**ACCOUNT, "id": "rival"}


async def test_another_currency_is_told(db):
    assert "currency" not in await asked(db)
    assert (await asked(db, prices=PriceList.of({"currency": "EUR"})))["currency"] == "EUR"


async def test_the_hosted_list_price_can_be_told_besides(db):
    await db.write(opened)
    prices = PriceList.of({"price": [{"dimension": SANDBOX_RUNTIME, "per_unit": "0"}]})
    now = NOW + timedelta(seconds=2)
    answer = await asked(db, now, prices=prices, groupBy="resource_name", listPrice="true")
    assert answer["summary"] == {"totalCost": 0.0, "totalListCost": 0.000023}
    assert answer["data"][0]["summary"] == {"cost": 0.0, "listCost": 0.000023}
    assert [point["listCost"] for point in answer["data"][0]["timeseries"]] == [0.0, 0.000023, 0.0]
    assert "listCost" not in str(await asked(db, now, prices=prices))


async def test_an_hour_that_goes_on_is_read_from_its_sum(db):
    """However many events it has: the answer about now must not grow with them."""

    def run(conn):
        opened(conn, at=NOW - timedelta(minutes=20))
        METER.tick(conn, NOW)

    await db.write(run)
    before = await asked(db, groupBy="billing_dimension", start=NOW - timedelta(days=2))
    exact = await asked(db, now=NOW + timedelta(seconds=1), groupBy="billing_dimension", end=NOW)
    await db.write(lambda conn: conn.execute(usage_events.delete()))
    after = await asked(db, groupBy="billing_dimension", start=NOW - timedelta(days=2))
    assert before == after
    assert before["summary"]["totalUsage"] == exact["summary"]["totalUsage"] == 1200
