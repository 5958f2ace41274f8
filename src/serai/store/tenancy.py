"""Whose the rows of every table are. A table that stands in neither list fails a test.

``owners`` are columns whose value says whose a row is, and what it must be compared with.
``links`` are columns by which a row may also be reached from a row that is in reach (a join), and
in a ``part`` by a bare value: rows of a part belong to a thing that has an unguessable id, and
whoever has looked that up has passed the guard there.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

Owner = Literal["workspace", "account", "billed account", "subject", "email"]
"""``billed account``: rows of all workspaces of the account, so for its admins alone."""


class Owned(msgspec.Struct, frozen=True):
    """A table of tenants' rows."""

    owners: Mapping[str, Owner] = {}
    links: tuple[str, ...] = ()
    part: bool = False


_IN_WORKSPACE = Owned({"workspace": "workspace"})
_IN_BOTH: Mapping[str, Owner] = {"workspace": "workspace", "account_id": "billed account"}
_OF_USER = Owned({"user_id": "subject"}, ("user_id",), part=True)

OWNED: Mapping[str, Owned] = {
    "accounts": Owned({"id": "account"}),
    "workspaces": Owned({"name": "workspace", "account_id": "billed account"}),
    "workspace_names": Owned({"name": "workspace", "account_id": "account"}),
    "users": Owned({"account_id": "account", "id": "subject"}, ("id",)),
    "memberships": Owned({"workspace": "workspace", "user_id": "subject"}, ("user_id",)),
    "invitations": Owned({"workspace": "workspace", "email": "email"}),
    "service_accounts": Owned({"workspace": "workspace", "client_id": "subject"}),
    "api_keys": Owned({"user_id": "subject", "client_id": "subject"}, ("user_id", "client_id"),
                      part=True),
    "documents": Owned({"workspace": "workspace"}, ("id",)),
    "document_counts": _IN_WORKSPACE,
    "document_events": Owned(links=("document_id",), part=True),
    "document_revisions": Owned(links=("document_id",), part=True),
    "quotas": Owned({"workspace": "workspace", "account_id": "account"}),
    "audit_entries": Owned(_IN_BOTH),
    "idempotency_keys": Owned({"scope": "subject"}),
    "sandboxes": Owned(_IN_BOTH, ("id",), part=True),
    "snapshots": Owned(_IN_BOTH, ("id",), part=True),
    "sandbox_schedules": _IN_WORKSPACE,
    "sandbox_schedule_executions": _IN_WORKSPACE,
    "preview_tokens": _IN_WORKSPACE,
    "drive_mounts": _IN_WORKSPACE,
    "s3_secrets": _IN_WORKSPACE,
    "job_executions": _IN_WORKSPACE,
    "hosted_deployments": Owned({"workspace": "workspace"}, ("document_id",), part=True),
    "hosted_instances": Owned(_IN_BOTH, ("id", "document_id"), part=True),
    "hosted_bridges": Owned({"workspace": "workspace"}, ("document_id",), part=True),
    "hosted_calls": Owned({"workspace": "workspace"}, ("id", "document_id"), part=True),
    "hosted_schedules": Owned({"workspace": "workspace"}, ("document_id",), part=True),
    "job_tasks": _IN_WORKSPACE,
    "job_boxes": _IN_WORKSPACE,
    "job_cron": _IN_WORKSPACE,
    "template_versions": _IN_WORKSPACE,
    "volume_contents": Owned(links=("volume_id",), part=True),
    "images": Owned({"workspace": "workspace"}, ("id",)),
    "image_tags": Owned(links=("image_id",), part=True),
    "builds": Owned({"workspace": "workspace"}, ("id",), part=True),
    "image_shares": Owned({"target": "workspace"}, ("image_id",), part=True),
    "domain_shares": Owned({"target": "workspace", "account_id": "account"}, ("document_id",),
                           part=True),
    "workspace_secrets": _IN_WORKSPACE,
    "usage_series": Owned({"workspace": "workspace", "account_id": "account"}, ("id",)),
    "usage_events": Owned(links=("series_id",), part=True),
    "usage_hours": Owned(links=("series_id",), part=True),
    "usage_days": Owned(links=("series_id",), part=True),
    "usage_callers": Owned({"workspace": "workspace", "account_id": "account"}, ("id",)),
    "usage_caller_hours": Owned(links=("caller_id",), part=True),
    "usage_spans": Owned(_IN_BOTH),
    "usage_changes": Owned(links=("resource_id",), part=True),
    "model_requests": _IN_WORKSPACE,
    "model_request_logs": _IN_WORKSPACE,
    "log_streams": Owned({"workspace": "workspace"}, ("id",)),
    "log_origins": Owned(links=("stream_id", "id"), part=True),
    "log_lines": Owned(links=("stream_id",), part=True),
    "log_hours": Owned(links=("stream_id",), part=True),
    "usage_quarantine": Owned(links=("id",), part=True),
    "price_lists": Owned({"account_id": "account"}),
    "prices": Owned({"account_id": "account"}),
    "budgets": Owned({"account_id": "billed account"}, ("id",)),
    "budget_alerts": Owned(links=("budget_id",), part=True),
    "statements": Owned({"account_id": "billed account"}),
    "statement_lines": Owned({"account_id": "billed account"}),
    "oauth_clients": Owned({"account_id": "account"}),
    "oauth_grants": Owned({"user_id": "subject", "service_client_id": "subject",
                           "workspace": "workspace"},
                          ("id", "user_id", "service_client_id", "client_id", "sign_in_id"),
                          part=True),
    "oauth_refresh_tokens": Owned(links=("grant_id",), part=True),
    "oauth_codes": _OF_USER,
    "device_codes": _OF_USER,
    "passwords": _OF_USER,
    "second_factors": _OF_USER,
    "upstream_identities": _OF_USER,
    "sign_ins": Owned({"user_id": "subject"}, ("id", "user_id"), part=True),
    "one_time_links": _OF_USER,
}  # fmt: skip

GLOBAL: Mapping[str, str] = {
    "signing_keys": "the installation's own; every tenant's tokens are signed with them",
    "drive_keys": "the installation's own; every tenant's drive tokens are signed with them",
    "identity_changes": "one number, which tells nobody anything",
    "mails": "sealed, and only ever read to be handed over",
    "outbox": "what parts of the platform tell each other; no operation shows it",
    "usage_notes": "how far metering has come",
    "sign_in_failures": "counted before it is known who somebody is",
}
"""Tables without tenants' rows, and why."""
