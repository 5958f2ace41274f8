"""Usage in the columns of FOCUS 1.2, the FinOps Open Cost and Usage Specification.

Every mandatory column is there, and of the conditional ones those that Serai has something to
say in. There are no discounts, so list, contracted, effective and billed cost are one; what the
hosted service would list for it stands in ``x_HostedListCost``, in USD.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import date

import msgspec

from serai.billing.exports import Part, Row, Rows, edges_of
from serai.metering.answer import time_text
from serai.metering.dimensions import DIMENSIONS
from serai.metering.money import plain, published, units
from serai.metering.prices import HOSTED_LIST, Price, PriceList
from serai.metering.query import MetricsQuery
from serai.metering.times import DAY, month_of, month_start
from serai.metering.usage import Amount, Key
from serai.metering.windows import bucket_start
from serai.wire.billing import Account

VERSION = "1.2"
GROUP_BY = ("billing_dimension", "resource_uuid")

COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingAccountType",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "SubAccountType",
    "x_HostedListCost",
)

SERVICES = {
    "sandbox": ("Sandboxes", "Compute", "Serverless Compute"),
    "agent": ("Agents", "Compute", "Serverless Compute"),
    "job": ("Batch jobs", "Compute", "Serverless Compute"),
    "mcp_server": ("MCP servers", "Compute", "Serverless Compute"),
    "volume": ("Volumes", "Storage", "Block Storage"),
    "drive": ("Drives", "Storage", "File Storage"),
    "custom_domain": ("Custom domains", "Networking", "Application Networking"),
    "model": ("Models", "AI and Machine Learning", "Generative AI"),
}
"""By resource type: service, category and subcategory, the last two as FOCUS names them."""

OTHER = ("Other", "Other", "Other (Other)")
PER = {"per_unit": "{}", "per_million": "1000000 {}", "per_gb_month": "GB-Months"}


class Charge(msgspec.Struct, frozen=True):
    """What one row is about: usage of one resource in one bucket at one price."""

    key: Key
    bucket: int
    provider: str
    model: str
    price: Price | None
    hosted_rate: int


def focus_rows(account: Account) -> Rows:
    """Makes the rows of an account from pages that are grouped by ``GROUP_BY``."""

    def rows(part: Part, groups: dict[Key, dict[str, str]]) -> Iterator[Row]:
        charges: dict[Charge, int] = defaultdict(int)
        for amount in part.reader.amounts(list(groups)):
            charges[_charge(amount, part.prices)] += amount.quantity
        same = _of_account(account, part.prices.currency)
        for charge, quantity in sorted(charges.items(), key=lambda one: _order(one[0])):
            row = same | _of_resource(groups[charge.key], charge) | _of_time(part.query, charge)
            row |= _of_amount(charge, quantity)
            yield [row[column] for column in COLUMNS]

    return rows


def _charge(amount: Amount, prices: PriceList) -> Charge:
    kind = amount.dimension, amount.provider, amount.model, amount.day
    return Charge(
        amount.key,
        amount.bucket,
        amount.provider,
        amount.model,
        prices.price(*kind),
        HOSTED_LIST.rate(*kind),
    )


def _order(charge: Charge) -> tuple[Key, int, str, str, date]:
    since = charge.price.since if charge.price else date.min
    return charge.key, charge.bucket, charge.provider, charge.model, since


def _of_account(account: Account, currency: str) -> dict[str, str]:
    return {
        "BillingAccountId": account.id,
        "BillingAccountName": account.name,
        "BillingAccountType": "Account",
        "BillingCurrency": currency,
        "SubAccountType": "Workspace",
        "ChargeCategory": "Usage",
        "ChargeClass": "",
        "ChargeFrequency": "Usage-Based",
        "PricingCategory": "Standard",
    } | dict.fromkeys(("InvoiceIssuerName", "ProviderName", "PublisherName"), "Serai")


def _of_resource(more: dict[str, str], charge: Charge) -> dict[str, str]:
    dimension = DIMENSIONS[charge.key[0]]
    service, category, subcategory = SERVICES.get(dimension.resource_type, OTHER)
    meter = _words(dimension.name.rpartition("_")[0])
    name, workspace = more.get("resource_name", ""), more.get("workspace", "")
    return {
        "ChargeDescription": f"{meter} of {name or charge.key[1]}",
        "ResourceId": charge.key[1],
        "ResourceName": name,
        "ResourceType": _words(dimension.resource_type),
        "ServiceName": service,
        "ServiceCategory": category,
        "ServiceSubcategory": subcategory,
        "SkuId": dimension.name,
        "SkuMeter": meter,
        "SkuPriceId": _price_id(dimension.name, charge.price),
        "SubAccountId": workspace,
        "SubAccountName": workspace,
    }


def _of_time(query: MetricsQuery, charge: Charge) -> dict[str, str]:
    start, end = edges_of(query, charge.bucket)
    month = month_of(bucket_start(query.resolution, charge.bucket) // DAY)
    return {
        "ChargePeriodStart": start,
        "ChargePeriodEnd": end,
        "BillingPeriodStart": time_text(month_start(month)),
        "BillingPeriodEnd": time_text(month_start(month + 1)),
    }


def _of_amount(charge: Charge, quantity: int) -> dict[str, str]:
    dimension, unit = DIMENSIONS[charge.key[0]], consumed_unit(charge.key[0])
    per, price, many = charge.price.given[0] if charge.price else ("per_unit", 0, 1)
    cost = plain(published(quantity * (charge.price.rate if charge.price else 0)))
    costs = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")
    return dict.fromkeys(costs, cost) | {
        "ConsumedQuantity": plain(units(quantity, dimension.scale)),
        "ConsumedUnit": unit,
        "PricingQuantity": plain(units(quantity, dimension.scale * many)),
        "PricingUnit": PER[per].format(unit),
        "ListUnitPrice": f"{price:f}",
        "ContractedUnitPrice": f"{price:f}",
        "x_HostedListCost": plain(published(quantity * charge.hosted_rate)),
    }


def consumed_unit(dimension: str) -> str:
    """The unit of a dimension as FOCUS writes units."""
    unit = DIMENSIONS[dimension].unit
    if unit != "count":
        return {"gbs": "GB-Seconds", "hours": "Hours"}[unit]
    return "Tokens" if "tokens" in dimension else "Requests"


def _price_id(dimension: str, price: Price | None) -> str:
    parts = (price.provider, price.model, price.given[0][0]) if price else ()
    return "/".join([dimension, *filter(None, parts)])


def _words(name: str) -> str:
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]
