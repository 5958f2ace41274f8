"""The generated functions of the Python SDK: every kind of resource that is a stored document."""

import uuid
from types import ModuleType
from typing import Any

from blaxel.core.client import client
from blaxel.core.client.api.agents import (
    create_agent,
    delete_agent,
    get_agent,
    list_agents,
    update_agent,
)
from blaxel.core.client.api.functions import (
    create_function,
    delete_function,
    get_function,
    list_functions,
    update_function,
)
from blaxel.core.client.api.integrations import (
    create_integration_connection,
    delete_integration_connection,
    get_integration_connection,
    list_integration_connections,
    update_integration_connection,
)
from blaxel.core.client.api.models import (
    create_model,
    delete_model,
    get_model,
    list_models,
    update_model,
)
from blaxel.core.client.api.policies import (
    create_policy,
    delete_policy,
    get_policy,
    list_policies,
    update_policy,
)
from blaxel.core.client.models import (
    Agent,
    Error,
    Function,
    IntegrationConnection,
    Model,
    Policy,
)
from blaxel.core.client.pagination import get_page_data

MARK = uuid.uuid4().hex[:8]
WORKLOAD = {
    "description": "first",
    "runtime": {
        "image": "some/image:1",
        "memory": 512,
        "envs": [
            {"name": "PLAIN", "value": "seen"},
            {"name": "KEY", "value": "s3", "secret": True},
        ],
    },
}
CONNECTION = {"integration": "openai", "secret": {"apiKey": "sk-1"}, "config": {"a": "first"}}
MODEL = {"runtime": {"type": "openai", "model": "first"}, "integrationConnections": ["c"]}
POLICY = {
    "type": "location",
    "resourceTypes": ["agent"],
    "locations": [{"type": "country", "name": "us"}],
}

Verbs = tuple[ModuleType, ModuleType, ModuleType, ModuleType, ModuleType]
AGENTS: Verbs = (create_agent, get_agent, update_agent, list_agents, delete_agent)
FUNCTIONS: Verbs = (
    create_function,
    get_function,
    update_function,
    list_functions,
    delete_function,
)
MODELS: Verbs = (create_model, get_model, update_model, list_models, delete_model)
POLICIES: Verbs = (create_policy, get_policy, update_policy, list_policies, delete_policy)
CONNECTIONS: Verbs = (
    create_integration_connection,
    get_integration_connection,
    update_integration_connection,
    list_integration_connections,
    delete_integration_connection,
)


def main() -> None:
    life(AGENTS, Agent, "agent_name", WORKLOAD)
    life(FUNCTIONS, Function, "function_name", WORKLOAD)
    life(CONNECTIONS, IntegrationConnection, "connection_name", CONNECTION)
    life(MODELS, Model, "model_name", MODEL)
    life(POLICIES, Policy, "policy_name", POLICY, declared_errors=False)
    print("done")


def life(
    verbs: Verbs, shape: Any, argument: str, spec: dict[str, Any], *, declared_errors: bool = True
) -> None:
    """Create, conflict, read, list, replace and delete one resource."""
    create, get, update, listing, delete = verbs
    name = f"client-{MARK}"
    which = {argument: name, "client": client}
    wanted = {"metadata": {"name": name, "labels": {"suite": MARK}}, "spec": spec}

    made = create.sync(client=client, body=shape.from_dict(wanted))
    assert isinstance(made, shape), made
    assert made.metadata.name == name
    assert made.metadata.labels["suite"] == MARK
    if declared_errors:
        again = create.sync(client=client, body=shape.from_dict(wanted))
        assert isinstance(again, Error), again
        assert again.code == 409, again
        assert name in again.message, again

    found = get.sync(**which)
    assert isinstance(found, shape), found
    assert found.to_dict()["spec"] == made.to_dict()["spec"], found
    names = [item.metadata.name for item in get_page_data(listing.sync(client=client))]
    assert name in names, names

    changed = found.to_dict()
    changed["metadata"]["displayName"] = "Second"
    changed["metadata"]["labels"] = {"suite": "second"}
    replaced = update.sync(**which, body=shape.from_dict(changed))
    assert isinstance(replaced, shape), replaced
    assert replaced.metadata.display_name == "Second"
    assert replaced.metadata.labels.to_dict() == {"suite": "second"}

    assert isinstance(delete.sync(**which), shape)
    gone = get.sync_detailed(**which) if declared_errors else None
    if gone is not None:
        assert gone.status_code == 404, gone
        assert isinstance(gone.parsed, Error), gone
        assert gone.parsed.code == 404, gone
    names = [item.metadata.name for item in get_page_data(listing.sync(client=client))]
    assert name not in names, names


if __name__ == "__main__":
    main()
