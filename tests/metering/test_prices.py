"""Prices: which one applies, what is refused, and that parts add up."""

import tomllib
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.metering.dimensions import DIMENSIONS, MODEL_INPUT_TOKENS, SANDBOX_RUNTIME
from serai.metering.money import GRAINS, diffused, plain, published, units
from serai.metering.prices import HOSTED_LIST, InvalidPrices, PriceList

DAY = date(2026, 4, 28)


def listed(*prices, **more):
    return PriceList.of({"price": list(prices), **more})


def unit_price(prices, dimension, provider="", model="", day=DAY):
    """What one public unit costs, as an exact fraction."""
    rate = prices.rate(dimension, provider, model, day)
    return Fraction(rate, GRAINS) * DIMENSIONS[dimension].scale


MONTH = 730 * 3600


@pytest.mark.parametrize(
    ("dimension", "price"),
    [
        (SANDBOX_RUNTIME, Fraction("0.0000115")),
        ("agent_compute_runtime_gbs", Fraction("0.0000115")),
        ("job_compute_runtime_gbs", Fraction("0.000006")),
        ("mcp_server_compute_runtime_gbs", Fraction("0.000007")),
        ("sandbox_snapshot_storage_gbs", Fraction("0.20") / MONTH),
        ("agent_image_storage_gbs", Fraction("0.045") / MONTH),
        ("volume_storage_gbs", Fraction("0.10") / MONTH),
        (MODEL_INPUT_TOKENS, 0),
        ("custom_domain_active_time_hours", 0),
    ],
)
def test_the_default_list(dimension, price):
    assert unit_price(PriceList.load(None), dimension, "openai", "gpt") == price


def test_the_hosted_list_has_only_what_the_hosted_service_lists():
    assert unit_price(HOSTED_LIST, "mcp_server_compute_runtime_gbs") == Fraction("0.000007")
    assert HOSTED_LIST.rate("volume_storage_gbs", "", "", DAY) == 0


def test_another_list_goes_first_wherever_it_says_something():
    file = listed(
        {"dimension": MODEL_INPUT_TOKENS, "per_unit": "1", "model": "gpt"},
        {"dimension": SANDBOX_RUNTIME, "per_unit": "2"},
    )
    own = listed({"dimension": MODEL_INPUT_TOKENS, "per_unit": "0"}).levels[0]
    both = file.under(own, "EUR")
    assert both.currency == "EUR"
    assert unit_price(both, MODEL_INPUT_TOKENS, "openai", "gpt") == 0
    assert unit_price(both, SANDBOX_RUNTIME) == 2


def test_a_file_changes_prices_from_its_days_on(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text(
        'currency = "eur"\n'
        "[[price]]\n"
        f'dimension = "{SANDBOX_RUNTIME}"\n'
        "per_unit = 0.0001\n"
        "from = 2026-05-01\n"
    )
    prices = PriceList.load(path)
    assert prices.currency == "EUR"
    assert prices.changes == [date(2026, 5, 1)]
    before = prices.rate(SANDBOX_RUNTIME, "", "", date(2026, 4, 30))
    after = prices.rate(SANDBOX_RUNTIME, "", "", date(2026, 5, 1))
    assert before * Decimal("0.0001") == after * Decimal("0.0000115")


def test_the_closest_price_wins():
    prices = listed(
        {"dimension": MODEL_INPUT_TOKENS, "per_million": "1"},
        {"dimension": MODEL_INPUT_TOKENS, "per_million": "2", "provider": "openai"},
        {"dimension": MODEL_INPUT_TOKENS, "per_million": "3", "model": "gpt"},
        {"dimension": MODEL_INPUT_TOKENS, "per_million": "4", "model": "gpt", "from": "2027-01-01"},
    )

    def rate(provider, model, day=DAY):
        return 10**6 * unit_price(prices, MODEL_INPUT_TOKENS, provider, model, day)

    assert rate("mistral", "small") == 1
    assert rate("openai", "small") == 2
    assert rate("openai", "gpt") == 3
    assert rate("openai", "gpt", date(2027, 1, 1)) == 4


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"dimension": "moonlight", "per_unit": 1}, "dimension"),
        ({"dimension": SANDBOX_RUNTIME}, "per_unit"),
        ({"dimension": SANDBOX_RUNTIME, "per_unit": 1, "per_million": 1}, "per_million"),
        ({"dimension": MODEL_INPUT_TOKENS, "per_gb_month": 1}, "per_gb_month is for"),
        ({"dimension": SANDBOX_RUNTIME, "per_unit": -1}, "zero or more"),
        ({"dimension": SANDBOX_RUNTIME, "per_unit": "NaN"}, "zero or more"),
        ({"dimension": SANDBOX_RUNTIME, "per_unit": "1e-30"}, "24 places"),
        ({"dimension": SANDBOX_RUNTIME, "per_unit": "1e300"}, "10^9"),
        ({"dimension": SANDBOX_RUNTIME, "per_unti": 1}, "per_unti"),
        ({"dimension": SANDBOX_RUNTIME, "per_unit": 1, "from": "soon"}, "from"),
    ],
)
def test_a_wrong_price_is_refused_by_name(entry, named):
    with pytest.raises(InvalidPrices) as refused:
        listed(entry)
    assert named in refused.value.message


def test_a_wrong_currency_or_file_is_refused(tmp_path):
    with pytest.raises(InvalidPrices, match="currency"):
        listed(currency="dollars")
    with pytest.raises(InvalidPrices, match="cannot be read"):
        PriceList.load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("price = [")
    with pytest.raises(InvalidPrices, match="cannot be read"):
        PriceList.load(tmp_path / "bad.toml")


PRICES = st.decimals(0, 999_999_999, allow_nan=False, allow_infinity=False, places=24)
PER = {"per_unit": 1, "per_million": 10**6, "per_gb_month": MONTH}


@given(
    quantities=st.lists(st.integers(0, 10**16), max_size=50),
    price=PRICES,
    per=st.sampled_from(list(PER)),
)
def test_costs_are_the_exact_fractions(quantities, price, per):
    prices = listed({"dimension": SANDBOX_RUNTIME, per: price})
    rate = prices.rate(SANDBOX_RUNTIME, "", "", DAY)
    scale = DIMENSIONS[SANDBOX_RUNTIME].scale
    exact = [Fraction(one, scale) * Fraction(price) / PER[per] for one in quantities]
    assert [Fraction(one * rate, GRAINS) for one in quantities] == exact
    assert Fraction(sum(one * rate for one in quantities), GRAINS) == sum(exact)
    shown = [published(one * rate) for one in quantities]
    assert list(map(Fraction, shown)) == [round(one, 12) for one in exact]


PARTS = st.lists(st.sampled_from([0, 0, 1]) | st.integers(0, 10**40), max_size=60)


@given(parts=PARTS)
def test_published_parts_add_up_to_the_last_digit(parts):
    shown = list(diffused(parts))
    assert sum(map(Fraction, shown)) == Fraction(published(sum(parts)))
    for part, one in zip(parts, shown, strict=True):
        assert abs(Fraction(one) - Fraction(part, GRAINS)) <= Fraction(1, 10**12)
        assert part or not one


@given(parts=PARTS, per_unit=st.sampled_from([1, 1024_000, 3_600_000]))
def test_usage_adds_up_as_well(parts, per_unit):
    shown = sum(map(Fraction, diffused(parts, per_unit)))
    assert shown == Fraction(units(sum(parts), per_unit))


@given(st.decimals(-(10**9), 10**9, allow_nan=False, allow_infinity=False, places=18))
def test_amounts_as_text_have_no_exponent_and_lose_nothing(amount):
    text = plain(amount)
    assert Decimal(text) == amount
    assert not {"E", "e"} & set(text)
    assert "." not in text or text[-1] not in "0."


def test_the_documented_price_list_is_valid():
    text = (Path(__file__).parents[2] / "docs/reference/billing.md").read_text()
    example = text.split("```toml\n")[1].split("```")[0]
    prices = PriceList.of(tomllib.loads(example, parse_float=Decimal))
    assert prices.currency == "EUR"
    assert prices.changes == [date(2027, 1, 1)]
    assert unit_price(prices, SANDBOX_RUNTIME) == Fraction("0.000008")
