"""Why a model call is refused, or its answer cannot be passed on, in words."""

from serai.catalog.placement import PolicyProhibits
from serai.gateway.models.failures import excerpt
from serai.gateway.problems import ModelDisabled, ModelUnusable, ProviderFailed, WorkloadNotFound
from serai.gateway.routes import ModelRoute
from serai.gateway.targets import Target
from serai.kernel.errors import BadRequest, PayloadTooLarge, SeraiError


def no_model(target: Target) -> SeraiError:
    """There is no such model."""
    return WorkloadNotFound(
        f"No model '{target.name}' in workspace '{target.workspace}'. Create it first, or"
        " check the name."
    )


def refusal(route: ModelRoute) -> SeraiError:
    """The model is there, and may or can not be called."""
    if route.disabled:
        return ModelDisabled(
            f"The model '{route.name}' is disabled; set its spec.enabled to true to use it."
        )
    if route.prohibited:
        return PolicyProhibits(route.prohibited)
    return ModelUnusable(f"The model '{route.name}' cannot be called: {route.unusable}.")


def not_strict() -> SeraiError:
    """What the call uses at most cannot be known."""
    return BadRequest(
        "A strict token policy holds for this model: only JSON bodies, whose tokens can be limited"
        " before they are used, may be sent to it."
    )


def too_large(limit: int) -> SeraiError:
    """The body is longer than ``limit`` bytes."""
    return PayloadTooLarge(f"The JSON body of a model call may have at most {limit} bytes.")


def unreadable(status: int, body: bytes) -> SeraiError:
    """The answer is no JSON although it says so."""
    return ProviderFailed(
        f"The provider answered {status} with JSON that cannot be read: {excerpt(body)!r}.",
        details={"provider_status": status},
    )
