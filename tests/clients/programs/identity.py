"""The generated functions of the Python SDK: workspaces, people, machines, keys and features."""

import importlib
import uuid
from typing import Any

from blaxel.core.client import client, models

MARK = uuid.uuid4().hex[:8]


def call(place: str, function: str, **arguments: Any) -> Any:
    """The parsed answer of a generated function; only 200 is parsed into one."""
    module = importlib.import_module(f"blaxel.core.client.api.{place}.{function}")
    answer = module.sync_detailed(client=client, **arguments)
    assert answer.status_code == 200, (function, answer)
    return answer.parsed


def workspaces() -> None:
    name = f"client-{MARK}"
    question = models.CheckWorkspaceAvailabilityBody(name=name)
    assert call("workspaces", "check_workspace_availability", body=question) is True
    why = call("workspaces", "check_workspace_availability", body=question, with_reason=True)
    assert why.available is True, why
    taken = models.CheckWorkspaceAvailabilityBody(name="api")
    why = call("workspaces", "check_workspace_availability", body=taken, with_reason=True)
    assert why.reason.value == "forbidden_reserved", why
    wanted = models.Workspace.from_dict({"name": name, "labels": {"suite": MARK}})
    made = call("workspaces", "create_workspace", body=wanted)
    assert (bool(made.id), bool(made.account_id), made.status.value) == (True, True, "ready"), made
    made.display_name = "Second"
    changed = call("workspaces", "update_workspace", workspace_name=name, body=made)
    assert changed.display_name == "Second", changed
    assert changed.labels.to_dict() == {"suite": MARK}, changed
    found = call("workspaces", "get_workspace", workspace_name=name, count_resources=True)
    assert found.resource_counts["agents"] == 0, found
    assert name in [one.name for one in call("workspaces", "list_workspaces")]
    call("workspaces", "delete_workspace", workspace_name=name)


def people() -> None:
    email = f"{MARK}@example.com"
    body = models.InviteWorkspaceUserBody(email=email)
    assert call("workspaces", "invite_workspace_user", body=body).email == email
    role = models.UpdateWorkspaceUserRoleBody(role="admin")
    changed = call("workspaces", "update_workspace_user_role", sub_or_email=email, body=role)
    assert (changed.role, changed.accepted, changed.source.value) == ("admin", False, "invitation")
    assert email in [user.email for user in call("workspaces", "list_workspace_users")]
    call("workspaces", "remove_workspace_user", sub_or_email=email)
    assert email not in [user.email for user in call("workspaces", "list_workspace_users")]


def machines() -> None:
    place = "service_accounts"
    body = models.CreateWorkspaceServiceAccountBody(name=f"ci {MARK}", description="builds")
    made = call(place, "create_workspace_service_account", body=body)
    which = {"client_id": made.client_id}
    assert made.client_secret, made
    new = models.UpdateWorkspaceServiceAccountBody(name=f"ci2 {MARK}")
    assert call(place, "update_workspace_service_account", **which, body=new).name == new.name
    assert made.client_id in [a.client_id for a in call(place, "get_workspace_service_accounts")]
    wanted = models.CreateApiKeyForServiceAccountBody(name="one", expires_in="30d")
    key = call(place, "create_api_key_for_service_account", **which, body=wanted)
    assert (key.api_key[:3], key.expires_in) == ("bl_", "30d"), key
    [listed] = call(place, "list_api_keys_for_service_account", **which)
    assert (listed.id, listed.api_key != key.api_key) == (key.id, True), listed
    call(place, "delete_api_key_for_service_account", **which, api_key_id=key.id)
    assert call(place, "list_api_keys_for_service_account", **which) == []
    assert call(place, "delete_workspace_service_account", **which).client_id == made.client_id


def features() -> None:
    found = call("workspaces", "get_workspace_features").features
    assert found.additional_properties, found
    key = next(iter(found.additional_properties))
    state = call("feature_flags", "test_feature_flag", feature_key=key)
    assert (state.enabled, state.feature_key) == (True, key), state


if __name__ == "__main__":
    workspaces()
    people()
    machines()
    features()
    print("done")
