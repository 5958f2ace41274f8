"""Workspaces, the people and machines in them, invitations, keys and features.

Some of these shapes mix camelCase and snake_case on the wire; the field names below say which.
"""

from typing import Literal

import msgspec

from serai.wire.common import Wire

Role = Literal["admin", "member"]
WorkspaceStatus = Literal[
    "created", "account_binded", "account_configured", "workspace_configured", "ready", "error"
]
UnavailableReason = Literal["taken", "forbidden_reserved", "forbidden_blaxel", "forbidden_v_prefix"]
UserSource = Literal["directory_sync", "invitation", "domain_capture"]


class GroupMapping(Wire):
    """The role that members of a directory's group get; kept for directory sync."""

    group_name: str | None = None
    role: Role | None = None


class SandboxSettings(Wire):
    """Settings for every sandbox of a workspace."""

    disable_process_logging: bool | None = None


class WorkspaceRuntime(Wire):
    """How a workspace runs its workloads; ``generation`` is the platform's to say."""

    generation: str | None = None
    sandbox: SandboxSettings | None = None


class Workspace(Wire):
    """A tenant: its resources, people and settings.

    Clients write ``name`` (once), ``display_name``, ``labels``, ``region``, ``group_mappings`` and
    ``runtime.sandbox``. ``resource_counts`` is there when asked for.
    """

    name: str | None = None
    display_name: str | None = None
    id: str | None = None
    account_id: str | None = None
    region: str | None = None
    labels: dict[str, str] | None = None
    group_mappings: list[GroupMapping] | None = None
    runtime: WorkspaceRuntime | None = None
    resource_counts: dict[str, int] | None = None
    status: WorkspaceStatus | None = None
    status_reason: str | None = None
    created_at: str | None = None
    created_by: str | None = None
    updated_at: str | None = None
    updated_by: str | None = None


class AvailabilityQuestion(Wire):
    """The name a client would like."""

    name: str


class WorkspaceAvailability(Wire):
    """Whether a workspace could have a name, and if not, why."""

    available: bool
    reason: UnavailableReason | None = None
    message: str | None = None


class WorkspaceUser(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Somebody in a workspace, or invited to it (``accepted`` false, and no ``sub`` yet)."""

    sub: str | None = None
    email: str | None = None
    email_verified: bool | None = None
    given_name: str | None = None
    family_name: str | None = None
    role: str | None = None
    accepted: bool | None = None
    expired: bool | None = None
    source: UserSource | None = None


class InviteBody(Wire):
    """Whom to invite. ``role`` is our extension; ``member`` when absent."""

    email: str
    role: str | None = None


class RoleBody(Wire):
    """The role to give."""

    role: str


class PendingInvitation(Wire):
    """An invitation as its workspace sees it. ``link`` (our extension) is shown once."""

    email: str | None = None
    role: str | None = None
    workspace: str | None = None
    invited_by: str | None = None
    expires_at: str | None = None
    created_at: str | None = None
    created_by: str | None = None
    updated_at: str | None = None
    updated_by: str | None = None
    link: str | None = None


class Inviter(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Who invites."""

    sub: str | None = None
    email: str | None = None
    given_name: str | None = None
    family_name: str | None = None


class InvitingWorkspace(Wire):
    """The workspace one is invited to."""

    name: str | None = None
    display_name: str | None = None


class InvitingWorkspaceDetails(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How many people are in that workspace."""

    user_number: int | None = None


class ReceivedInvitation(Wire):
    """An invitation as the invited person sees it."""

    invitation_id: str | None = None
    type: str | None = None
    email: str | None = None
    role: str | None = None
    invited_at: str | None = None
    invited_by: Inviter | None = None
    expires_at: str | None = None
    workspace: InvitingWorkspace | None = None
    workspace_details: InvitingWorkspaceDetails | None = None


class InvitationToken(Wire):
    """The secret of an invitation's link."""

    token: str | None = None


class AcceptedInvitation(Wire):
    """What an accepted invitation gave. ``api_key`` (our extension): a new user's first key."""

    email: str | None = None
    workspace: Workspace | None = None
    api_key: str | None = None


class ServiceAccount(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A machine's identity in one workspace. ``client_secret`` is shown once; ``role`` is ours."""

    client_id: str | None = None
    client_secret: str | None = None
    name: str | None = None
    description: str | None = None
    role: str | None = None
    created_at: str | None = None
    updated_at: str | None = None


class CreateServiceAccountBody(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A service account to make; ``role`` (our extension) is ``member`` when absent."""

    name: str
    description: str | None = None
    role: str | None = None


class UpdateServiceAccountBody(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What to change of a service account; absent fields stay."""

    name: str | None = None
    description: str | None = None
    role: str | None = None


class CreateApiKeyBody(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A key to make; ``expires_in`` is a duration such as ``30d``, absent for never.

    ``scopes`` (our extension) are what it may be used for; absent for all its holder may do.
    """

    name: str | None = None
    expires_in: str | None = None
    scopes: list[str] | None = None


class ApiKey(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A long-lived key: in full when made, then only its first characters.

    ``expiresAt``, ``lastUsedAt`` (to the minute) and ``scopes`` are our extensions.
    """

    id: str | None = None
    name: str | None = None
    scopes: list[str] | None = None
    api_key: str | None = msgspec.field(default=None, name="apiKey")
    expires_in: str | None = None
    expires_at: str | None = msgspec.field(default=None, name="expiresAt")
    last_used_at: str | None = msgspec.field(default=None, name="lastUsedAt")
    sub: str | None = None
    sub_type: Literal["user", "service_account"] | None = None
    created_at: str | None = msgspec.field(default=None, name="createdAt")
    created_by: str | None = msgspec.field(default=None, name="createdBy")
    updated_at: str | None = msgspec.field(default=None, name="updatedAt")
    updated_by: str | None = msgspec.field(default=None, name="updatedBy")


class Grant(Wire):
    """A workspace and the caller's role in it."""

    name: str
    role: str


class Profile(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Whom a credential belongs to."""

    sub: str
    sub_type: Literal["user", "service_account"]
    email: str | None = None
    email_verified: bool | None = None
    given_name: str | None = None
    family_name: str | None = None
    account_id: str | None = msgspec.field(default=None, name="accountId")
    account_admin: bool | None = msgspec.field(default=None, name="accountAdmin")
    workspaces: list[Grant] | None = None


class Features(Wire):
    """What is switched on; what is off is left out."""

    features: dict[str, bool]


class FeatureState(Wire):
    """One feature, looked at now."""

    feature_key: str
    enabled: bool
    evaluated_at: str


class BrowserSession(Wire):
    """A browser in which the caller is signed in; ours, the hosted service has no such answer.

    ``method`` is how they proved who they are: ``password`` or ``upstream``, with ``+code`` when
    a second factor was asked for.
    """

    id: str
    method: str
    address: str
    user_agent: str
    created_at: str
    last_seen_at: str
    expires_at: str
