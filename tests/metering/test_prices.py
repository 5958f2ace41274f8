"""Prices: which one applies, what is refused, and that parts add up."""

import tomllib
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serai.metering.dimensions import MODEL_INPUT_TOKENS, SANDBOX_RUNTIME
from serai.metering.prices import InvalidPrices, PriceList, cost_of, published, total

DAY = date(2026, 4, 28)


def listed(*prices, **more):
    return PriceList.of({"price": list(prices), **more})


def test_the_default_list_prices_sandboxes_and_gives_models_away():
    prices = PriceList.load(None)
    assert cost_of(1024 * 1000, prices.rate(SANDBOX_RUNTIME, "", "", DAY)) == Decimal("0.00001")
    assert prices.rate(MODEL_INPUT_TOKENS, "openai", "gpt", DAY) == 0
    assert prices.rate("volume_storage_gbs", "", "", DAY) == 0


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
    assert after == 10 * before


def test_the_closest_price_wins():
    prices = listed(
        {"dimension": MODEL_INPUT_TOKENS, "per_million": "1"},
        {"dimension": MODEL_INPUT_TOKENS, "per_million": "2", "provider": "openai"},
        {"dimension": MODEL_INPUT_TOKENS, "per_million": "3", "model": "gpt"},
        {"dimension": MODEL_INPUT_TOKENS, "per_million": "4", "model": "gpt", "from": "2027-01-01"},
    )

    def rate(provider, model, day=DAY):
        return 10**6 * prices.rate(MODEL_INPUT_TOKENS, provider, model, day)

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


@given(
    quantities=st.lists(st.integers(0, 10**16), max_size=50),
    price=st.decimals(0, 999_999_999, allow_nan=False, allow_infinity=False, places=24),
)
def test_exact_parts_add_up_and_published_ones_stay_within_the_rule(quantities, price):
    rate = listed({"dimension": SANDBOX_RUNTIME, "per_unit": price}).rate(
        SANDBOX_RUNTIME, "", "", DAY
    )
    parts = [cost_of(quantity, rate) for quantity in quantities]
    whole = cost_of(sum(quantities), rate)
    assert total(parts) == whole


@given(quantities=st.lists(st.integers(0, 10**9), min_size=1, max_size=50))
def test_published_parts_stay_within_the_rounding_rule(quantities):
    rate = PriceList.load(None).rate(SANDBOX_RUNTIME, "", "", DAY)
    parts = [Decimal(repr(published(cost_of(quantity, rate)))) for quantity in quantities]
    whole = Decimal(repr(published(cost_of(sum(quantities), rate))))
    assert abs(sum(parts) - whole) <= (len(parts) + 1) * Decimal("0.5e-12")


def test_the_documented_price_list_is_valid():
    text = (Path(__file__).parents[2] / "docs/reference/billing.md").read_text()
    example = text.split("```toml\n")[1].split("```")[0]
    prices = PriceList.of(tomllib.loads(example, parse_float=Decimal))
    assert prices.currency == "EUR"
    assert prices.changes == [date(2027, 1, 1)]
    rate = prices.rate(SANDBOX_RUNTIME, "", "", DAY)
    assert cost_of(1024 * 1000, rate) == Decimal("0.000008")
