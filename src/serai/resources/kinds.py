"""The kinds whose whole life is their document."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from serai.kernel.errors import BadRequest
from serai.kernel.names import check_name
from serai.resources.kind import Body, Kind, Operations
from serai.resources.masking import Slot, env_slots, map_slots
from serai.resources.model_gateway import check_gateway
from serai.resources.triggers import callback_slots, prepare_triggers
from serai.wire.models import IntegrationConnection, Model, Policy
from serai.wire.workloads import Agent, Function

MEMORY_RANGE = (128, 65536)
SCALE_MAX = 1000


def check_memory(runtime: Body) -> None:
    """Memory must be a plausible number of MiB."""
    memory = runtime.get("memory")
    low, high = MEMORY_RANGE
    if memory is not None and not low <= memory <= high:
        raise BadRequest(f"spec.runtime.memory {memory} is outside {low} to {high} (MiB).")


def check_envs(runtime: Body) -> None:
    """Environment variable names must be unique: secrets are kept by name."""
    seen: set[str] = set()
    for env in runtime.get("envs") or []:
        if env["name"] in seen:
            raise BadRequest(f"spec.runtime.envs has {env['name'][:80]!r} twice.")
        seen.add(env["name"])


def _names(values: list[str] | None, field: str) -> None:
    for value in values or []:
        check_name(value, field)


def prepare_workload(body: Body) -> None:
    """Defaults and rules of agents and functions."""
    spec = body["spec"]
    spec.setdefault("enabled", True)
    spec.setdefault("public", False)
    runtime = spec.get("runtime") or {}
    check_memory(runtime)
    check_envs(runtime)
    low, high = runtime.get("minScale"), runtime.get("maxScale")
    if low is not None and high is not None and low > high:
        raise BadRequest(f"spec.runtime.minScale {low} is above spec.runtime.maxScale {high}.")
    for field, value in (("minScale", low), ("maxScale", high)):
        least = 0 if field == "minScale" else 1
        if value is not None and not least <= value <= SCALE_MAX:
            raise BadRequest(f"spec.runtime.{field} {value} is outside {least} to {SCALE_MAX}.")
    command = runtime.get("command")
    if command is not None and not all(word and "\0" not in word for word in command[:1]):
        raise BadRequest("spec.runtime.command begins with the program to start, as a word.")
    prepare_triggers(spec)
    _names(spec.get("policies"), "spec.policies")


def workload_slots(body: Body) -> Iterator[Slot]:
    """Secret environment values, and what signs results of asynchronous calls."""
    yield from env_slots(body)
    yield from callback_slots(body)


def prepare_model(body: Body) -> None:
    """Defaults and rules of models."""
    spec = body["spec"]
    spec.setdefault("enabled", True)
    _names(spec.get("policies"), "spec.policies")
    _names(spec.get("integrationConnections"), "spec.integrationConnections")
    check_gateway(body)


def prepare_connection(body: Body) -> None:
    """A connection names an integration; a base URL must be a plain http(s) URL."""
    spec = body["spec"]
    if not spec["integration"]:
        raise BadRequest("spec.integration is empty: name the integration, for example openai.")
    base = (spec.get("config") or {}).get("baseUrl")
    if base is None:
        return
    try:
        parts = urlsplit(base)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or parts.username:
        raise BadRequest(
            f"spec.config.baseUrl {base[:120]!r} is not a plain http(s) URL such as "
            "http://127.0.0.1:11434/v1."
        )


def prepare_policy(body: Body) -> None:
    """Each policy type needs the list it speaks of."""
    spec = body["spec"]
    needed = {"location": "locations", "flavor": "flavors", "maxToken": "maxTokens"}[spec["type"]]
    if not spec.get(needed):
        raise BadRequest(f"spec.{needed} is missing: a policy of type {spec['type']} needs it.")
    if needed == "maxTokens":
        _check_max_tokens(spec[needed])


def _check_max_tokens(limits: Body) -> None:
    units = ("minute", "hour", "day", "month")
    if limits.get("granularity") not in units:
        raise BadRequest(
            f"spec.maxTokens.granularity {str(limits.get('granularity'))[:40]!r} is not one of "
            f"{', '.join(units)}."
        )
    if not 1 <= limits.get("step", 1) <= 10_000:
        raise BadRequest("spec.maxTokens.step must be a whole number from 1 to 10000.")
    names = ("input", "output", "total", "ratioInputOverOutput")
    numbers = [limits.get(name) or 0 for name in names]
    if min(numbers) < 0 or not any(numbers):
        raise BadRequest(
            "spec.maxTokens needs a limit above 0 in input, output or total (or a"
            " ratioInputOverOutput); 0 sets none."
        )


AGENTS = Kind(
    name="agent",
    title="agent",
    path="agents",
    shape=Agent,
    status="DEACTIVATED",
    prepare=prepare_workload,
    secrets=workload_slots,
    versioned=True,
    built=True,
    operations=Operations.of("Agent"),
)
FUNCTIONS = Kind(
    name="function",
    title="function",
    path="functions",
    shape=Function,
    status="DEACTIVATED",
    prepare=prepare_workload,
    secrets=workload_slots,
    versioned=True,
    built=True,
    operations=Operations.of("Function"),
)
MODELS = Kind(
    name="model",
    title="model",
    path="models",
    shape=Model,
    prepare=prepare_model,
    versioned=True,
    routed=False,
    operations=Operations.of("Model"),
)
POLICIES = Kind(
    name="policy",
    title="policy",
    path="policies",
    shape=Policy,
    status="",
    has_url=False,
    prepare=prepare_policy,
    operations=Operations.of("Policy", "Policies"),
)
CONNECTIONS = Kind(
    name="integration_connection",
    title="integration connection",
    path="integrations/connections",
    shape=IntegrationConnection,
    paged=False,
    status="",
    has_url=False,
    prepare=prepare_connection,
    secrets=lambda body: map_slots("spec.secret", body["spec"].get("secret")),
    operations=Operations.of("IntegrationConnection"),
)

DOCUMENT_KINDS = (AGENTS, FUNCTIONS, MODELS, POLICIES, CONNECTIONS)
