"""What one model call costs, at the same prices as the bill."""

from datetime import date

from serai.metering.dimensions import MODEL_INPUT_TOKENS, MODEL_OUTPUT_TOKENS, MODEL_REQUESTS
from serai.metering.money import plain, published
from serai.metering.prices import PriceList


def cost_of(
    prices: PriceList,
    *,
    provider: str,
    model: str,
    day: date,
    status: int,
    tokens: tuple[int, int],
) -> str | None:
    """The exact cost of a call in the list's currency; ``None`` where the list has no price for it.

    Args:
        prices: those of the account.
        provider: integration type.
        model: the model's name in the workspace.
        day: whose prices hold.
        status: a call that failed is no request to pay for, but its tokens are.
        tokens: of the prompt and of the answer.
    """
    amounts = (
        (MODEL_INPUT_TOKENS, tokens[0]),
        (MODEL_OUTPUT_TOKENS, tokens[1]),
        (MODEL_REQUESTS, int(status < 400)),
    )
    found = [
        (price.rate, amount)
        for dimension, amount in amounts
        if (price := prices.price(dimension, provider, model, day)) is not None
    ]
    if not found:
        return None
    return plain(published(sum(rate * amount for rate, amount in found)))
