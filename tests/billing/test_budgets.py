"""Budgets: each crossed threshold is told once a month, signed, until the receiver took it."""

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address

import msgspec
import pytest

from billing.world import GB_HOUR, World
from receiver import receiver
from serai.billing import budget_records as records
from serai.billing.alerts import AT_ONCE, GIVE_UP, BudgetWatch, retry_after
from serai.billing.budgets import MAX_BUDGETS, Budget, Threshold, check
from serai.billing.webhooks import (
    Message,
    Undelivered,
    Webhooks,
    check_url,
    headers,
    new_secret,
)
from serai.kernel.errors import BadRequest, Conflict
from serai.kernel.outgoing import may_be_called
from serai.metering.dimensions import SANDBOX_RUNTIME
from serai.metering.prices import PriceList
from serai.wire import billing as wire

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()


def per_second(price: str) -> PriceList:
    """That price per GB-second of a sandbox."""
    return PriceList.of({"price": [{"dimension": SANDBOX_RUNTIME, "per_unit": price}]})


DOLLAR = per_second("0.0005")
"""1.80 per GB-hour."""


def budget(name="all", amount="18", thresholds=("50%", "100%"), url="http://x/", **filters):
    return Budget(
        id=f"b-{name}",
        account_id="acc",
        name=name,
        amount=Decimal(amount),
        filters=filters,
        thresholds=tuple(
            Threshold(percent=Decimal(one[:-1]))
            if one.endswith("%")
            else Threshold(amount=Decimal(one))
            for one in thresholds
        ),
        url=url,
        created_at="2026-05-01T00:00:00.000Z",
        updated_at="2026-05-01T00:00:00.000Z",
    )


async def keep(world: World, one: Budget) -> None:
    await world.db.write(lambda c: records.add_budget(c, one, SECRET, "u", world.vault))


def watch(world: World, private: bool = True, prices: PriceList = DOLLAR) -> BudgetWatch:
    return BudgetWatch(world.context(prices), Webhooks(private), world.clock)


async def alerts(world: World, period: str = "2026-05"):
    found = await world.db.read(records.find_budgets)
    ids = [one.id for one in found]
    return await world.db.read(lambda conn: records.find_alerts(conn, ids, [period]))


async def test_a_crossed_threshold_is_told_once_and_signed(world):
    world.use("2026-05-02T00", 5 * GB_HOUR)
    with receiver() as hook:
        await keep(world, budget(url=hook.url))
        one = watch(world)
        assert await one.notice() == 1
        assert await one.tell() == 1
        assert (await one.notice(), await one.tell()) == (0, 0)
        (call,) = hook.received
        body = json.loads(call.body)
        assert body["data"] == {
            "accountId": "acc",
            "budget": "all",
            "period": "2026-05",
            "threshold": {"percent": "50"},
            "amount": "18",
            "spent": "9",
            "currency": "USD",
        }
        assert body["type"] == "budget.threshold_crossed"
        assert body["id"] == call.headers["webhook-id"]
        moment = call.headers["webhook-timestamp"]
        assert int(moment) == world.now.timestamp()
        signed = b".".join([body["id"].encode(), moment.encode(), call.body])
        digest = hmac.digest(b"0123456789abcdef01234567", signed, "sha256")
        expected = "v1," + base64.b64encode(digest).decode()
        assert call.headers["webhook-signature"] == expected
        world.use("2026-05-03T00", 5 * GB_HOUR)
        assert (await one.notice(), await one.tell()) == (1, 1)
        told = [json.loads(call.body)["data"]["threshold"] for call in hook.received]
        assert told == [{"percent": "50"}, {"percent": "100"}]


@pytest.mark.parametrize(("price", "crossed"), [("0.0005", 1), ("0.000499999999999999999999", 0)])
async def test_a_threshold_is_crossed_exactly_when_it_is_reached(world, price, crossed):
    world.use("2026-05-02T00", 5 * GB_HOUR)
    await keep(world, budget(amount="9", thresholds=["100%"]))
    assert await watch(world, prices=per_second(price)).notice() == crossed


async def test_filters_and_amounts_decide_what_counts(world):
    world.use("2026-05-02T00", workspace="main", name="a")
    world.use("2026-05-02T00", 2 * GB_HOUR, workspace="second", name="b")
    world.use("2026-04-30T00", 9 * GB_HOUR)
    await keep(world, budget("main", thresholds=["1.8", "1.800001"], workspace="main"))
    await keep(world, budget("b", thresholds=["3.6", "3.7"], resourceName="b"))
    await keep(world, budget("jobs", thresholds=["0.000001"], resourceType="job"))
    await watch(world).notice()
    assert {key[::2] for key in await alerts(world)} == {("b-main", "1.8"), ("b-b", "3.6")}


async def test_every_month_is_told_again_and_late_usage_still_counts_for_its_own(world):
    await keep(world, budget(thresholds=["1"]))
    world.use("2026-05-02T00")
    assert await watch(world).notice() == 1
    world.use("2026-06-01T00")
    world.now = datetime(2026, 6, 2, tzinfo=UTC)
    assert await watch(world).notice() == 1
    assert [key[1] for key in await alerts(world, "2026-06")] == ["2026-06"]
    await keep(world, budget("june", thresholds=["1"]))
    world.now = datetime(2026, 6, 2, tzinfo=UTC)
    assert await watch(world).notice() == 2


async def test_a_younger_budget_does_not_look_back(world):
    world.use("2026-05-02T00")
    world.now = datetime(2026, 6, 2, tzinfo=UTC)
    young = msgspec.structs.replace(budget(thresholds=["1"]), created_at="2026-06-01T00:00:00.000Z")
    await keep(world, young)
    assert await watch(world).notice() == 0


async def test_failures_are_tried_again_later_and_later_with_the_same_id(world):
    world.use("2026-05-02T00", 5 * GB_HOUR)
    with receiver() as hook:
        hook.statuses = [500, 302, 404]
        await keep(world, budget(url=hook.url))
        await watch(world).notice()
        for attempt in range(1, 4):
            assert await watch(world).tell() == 0
            due = await watch(world).next_due()
            assert due == world.now + retry_after(attempt)
            assert await watch(world).tell() == 0
            assert len(hook.received) == attempt
            world.now = due
        assert await watch(world).tell() == 1
        assert await watch(world).next_due() is None
        assert len({call.headers["webhook-id"] for call in hook.received}) == 1
        assert {call.path for call in hook.received} == {"/hook"}
        assert len({call.headers["webhook-signature"] for call in hook.received}) == 4
    (told,) = (await alerts(world)).values()
    assert (told.state, told.attempts, told.problem) == ("delivered", 4, None)


async def test_a_receiver_that_never_answers_is_given_up(world):
    world.use("2026-05-02T00", 5 * GB_HOUR)
    await keep(world, budget(url="http://127.0.0.1:9/"))
    await watch(world).notice()
    began, attempts = world.now, 0
    while (due := await watch(world).next_due()) is not None:
        world.now = due
        assert await watch(world).tell() == 0
        attempts += 1
    (told,) = (await alerts(world)).values()
    assert (told.state, told.attempts) == ("failed", attempts)
    assert "cannot be called" in told.problem
    assert GIVE_UP - timedelta(hours=2) < world.now - began <= GIVE_UP
    assert attempts < 100


async def test_what_was_noticed_before_a_crash_is_told_after_it(world):
    world.use("2026-05-02T00", 50 * GB_HOUR)
    with receiver() as hook:
        for number in range(AT_ONCE + 2):
            await keep(world, budget(f"n{number}", thresholds=["50%"], url=hook.url))
        assert await watch(world).notice() == AT_ONCE + 2
        ids = {told.id for told in (await alerts(world)).values()}
        world.close()
        again = World(world.directory).open()
        try:
            again.now = world.now
            assert await watch(again).notice() == 0
            assert await watch(again).tell() == AT_ONCE
            assert await watch(again).tell() == 2
        finally:
            again.close()
        assert {call.headers["webhook-id"] for call in hook.received} == ids


async def test_a_deleted_budget_tells_nothing_more(world):
    world.use("2026-05-02T00", 5 * GB_HOUR)
    one = budget()
    await keep(world, one)
    await watch(world).notice()
    await world.db.write(lambda conn: records.drop_budget(conn, one))
    assert await watch(world).tell() == 0
    assert await watch(world).notice() == 0


async def test_two_budgets_of_a_name_and_too_many_are_refused(world):
    await keep(world, budget())
    with pytest.raises(Conflict, match="already"):
        await keep(world, msgspec.structs.replace(budget(), id="other"))
    for number in range(MAX_BUDGETS - 1):
        await keep(world, budget(f"n{number}"))
    with pytest.raises(Conflict, match="the most"):
        await keep(world, budget("last"))


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("http://169.254.169.254/latest", True),
        ("http://[fe80::1]/", True),
        ("http://0.0.0.0/", True),
        ("http://224.0.0.1/", True),
        ("http://[::ffff:169.254.169.254]/", True),
        ("http://127.0.0.1/", False),
        ("http://localhost/", False),
        ("http://10.1.2.3/", False),
        ("http://[::1]/", False),
        ("http://2130706433/", False),
        ("http://0177.0.0.1/", False),
        ("http://%31%32%37.0.0.1/", False),
        ("http://[fe80::1%25lo]/", True),
    ],
)
async def test_addresses_that_must_not_be_called_are_not(url, private):
    message = Message(id="m", url=url, body="{}", secret=new_secret())
    with pytest.raises(Undelivered, match=r"must not call|cannot be called"):
        await Webhooks(private).send(message, 0)


@pytest.mark.parametrize(
    ("address", "private", "allowed"),
    [
        ("127.0.0.1", True, True),
        ("127.0.0.1", False, False),
        ("192.168.1.1", False, False),
        ("::ffff:10.0.0.1", False, False),
        ("fd00::1", False, False),
        ("8.8.8.8", False, True),
        ("2606:4700::1111", False, True),
        ("169.254.169.254", True, False),
    ],
)
def test_which_addresses_may_be_called(address, private, allowed):
    assert may_be_called(ip_address(address), private) is allowed


async def test_loopback_is_not_called_when_private_addresses_are_off():
    with receiver() as hook:
        for host in ("127.0.0.1", "localhost"):
            url = hook.url.replace("127.0.0.1", host)
            message = Message(id="m", url=url, body="{}", secret=new_secret())
            with pytest.raises(Undelivered, match=r"must not call|cannot be called"):
                await Webhooks(private=False).send(message, 0)
        assert hook.received == []


def test_the_signature_is_that_of_the_specification():
    """The example key and message of the Standard Webhooks reference libraries."""
    message = Message(
        id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        url="http://x/",
        body='{"test": 2432232314}',
        secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )
    sent = headers(message, 1614265330)
    assert sent["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


GOOD = {
    "name": "all",
    "amount": Decimal(5),
    "thresholds": [wire.BudgetThreshold(percent=Decimal(80))],
    "webhook_url": "https://example.com/hook",
}


def test_a_good_budget_is_taken():
    check(wire.Budget(**GOOD))
    check(wire.Budget(**GOOD, secret=new_secret(), workspace="main"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": None}, "name"),
        ({"name": "No Name"}, "name"),
        ({"amount": Decimal(0)}, "amount"),
        ({"amount": Decimal("NaN")}, "amount"),
        ({"amount": Decimal("Infinity")}, "amount"),
        ({"amount": Decimal("1e999999")}, "amount"),
        ({"amount": Decimal("0.0000001")}, "amount"),
        ({"thresholds": []}, "thresholds"),
        ({"thresholds": [wire.BudgetThreshold()]}, "thresholds[0]"),
        ({"thresholds": [wire.BudgetThreshold(percent=Decimal(0))]}, "thresholds[0].percent"),
        ({"thresholds": [wire.BudgetThreshold(amount=Decimal(-1))]}, "thresholds[0].amount"),
        (
            {"thresholds": [wire.BudgetThreshold(percent=Decimal(one)) for one in ("5", "5.0")]},
            "twice",
        ),
        ({"webhook_url": "gopher://example.com"}, "webhookUrl"),
        ({"secret": "hush"}, "secret"),
        ({"secret": "whsec_c2hvcnQ="}, "secret"),
        ({"billing_dimension": "moonlight"}, "billingDimension"),
        ({"workspace": ""}, "workspace"),
    ],
)
def test_a_wrong_budget_is_refused_by_name(change, named):
    with pytest.raises(BadRequest) as refused:
        check(wire.Budget(**GOOD | change))
    assert named in refused.value.message


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "file:///etc/passwd",
        "http://",
        "http://u:p@h/",
        "http://h:99999/",
        "http://[::",
        "http://h/\n",
        "http://h/ü",
        "http://h/ x",
        "//h/",
        "http://" + "h" * 3000,
    ],
)
def test_what_is_no_url_of_a_web_server_is_refused(url):
    with pytest.raises(BadRequest, match="webhookUrl"):
        check_url(url)
