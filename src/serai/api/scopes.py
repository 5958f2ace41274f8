"""What an OAuth credential has to carry for each operation.

Names of scopes and which operation asks for which are facts of the public contract; the last
group, what workloads are called with, ``accounts:get``, ``metrics:get`` and those of ``logs`` are
ours. An operation that stands nowhere here needs ``admin``, which stands for everything that the
caller's role allows.
"""

from collections import defaultdict

ADMIN = "admin"

_OPERATIONS: dict[str, str] = {
    "accounts:get": (
        "GetAccountMetrics GetAccountQuotas ListAccountMetricsGroupings "
        "ListAccountMetricsResourceTypes ListAccounts"
    ),
    "admin": "ListPublicIps",
    "agents:create": "CreateAgent",
    "agents:delete": "DeleteAgent",
    "agents:get": "GetAgent",
    "agents:list": "GetPolicyUsages ListAgentRevisions ListAgents",
    "agents:update": "UpdateAgent",
    "apiKey:list": "ListApiKeysForServiceAccount ListProfileApiKeys",
    "apiKey:write": (
        "CreateApiKeyForServiceAccount CreateProfileApiKey DeleteApiKeyForServiceAccount "
        "DeleteProfileApiKey"
    ),
    "applications:create": "CreateApplication",
    "applications:delete": "DeleteApplication",
    "applications:get": "GetApplication",
    "applications:list": "ListApplicationRevisions ListApplications",
    "applications:update": "UpdateApplication",
    "configurations:list": "GetConfiguration",
    "customdomains:create": "CreateApplicationCustomDomain CreateCustomDomain",
    "customdomains:delete": "DeleteCustomDomain",
    "customdomains:get": "GetCustomDomain ListCustomDomainShares",
    "customdomains:list": "ListCustomDomains",
    "customdomains:update": (
        "ShareCustomDomain UnshareCustomDomain UpdateCustomDomain VerifyCustomDomain"
    ),
    "drives:create": "CreateDrive UpdateDrive",
    "drives:delete": "DeleteDrive DeleteDriveFolder",
    "drives:get": "CreateDriveAccessToken GetDrive GetDriveByExternalId ListDriveFolders",
    "drives:list": "ListDrives",
    "egressgateways:list": "GetEgressGatewayUsage ListAllEgressGateways",
    "egressips:list": "ListAllEgressIPs",
    "featureFlags:get": "testFeatureFlag",
    "featureFlags:list": "getWorkspaceFeatures",
    "functions:create": "CreateFunction",
    "functions:delete": "DeleteFunction",
    "functions:get": "GetFunction ListFunctionRevisions",
    "functions:list": "GetPolicyUsages ListFunctions",
    "functions:update": "UpdateFunction",
    "images:create": "CreateImage",
    "images:delete": "CleanupImages DeleteImage DeleteImageTag",
    "images:get": "GetImage ListImageShares",
    "images:list": "ListImageTags ListImages",
    "images:share": (
        "AcceptImageShare DeclineImageShare ListPendingImageShares ShareImage UnshareImage"
    ),
    "integrations:create": "CreateIntegrationConnection",
    "integrations:delete": "DeleteIntegrationConnection",
    "integrations:get": "GetIntegrationConnection GetIntegrationConnectionModel",
    "integrations:list": (
        "GetIntegration GetIntegrationConnectionModelEndpointConfigurations "
        "ListIntegrationConnectionModels ListIntegrationConnections"
    ),
    "integrations:update": "UpdateIntegrationConnection",
    "invitations:list": "ListAllPendingInvitations",
    "jobs:create": "CreateJob CreateJobExecution",
    "jobs:delete": "DeleteJob DeleteJobExecution",
    "jobs:get": "GetJob GetJobExecution ListJobExecutionTasks",
    "jobs:list": "GetPolicyUsages ListJobExecutions ListJobRevisions ListJobs",
    "jobs:update": "UpdateJob",
    "locations:list": "ListLocations",
    "logs:create": "CreateLogs CreateMetrics CreateTraces",
    "logs:get": "ListLogs",
    "mcphub:list": "ListMCPHubDefinitions",
    "metrics:get": "GetMetrics",
    "models:create": "CreateModel",
    "models:delete": "DeleteModel",
    "models:get": "GetModel GetModelRequest GetModelRequestLog",
    "models:list": (
        "CreatePolicyDryRun GetPolicyUsages ListModelRequests ListModelRevisions ListModels"
    ),
    "models:update": "UpdateModel",
    "policies:create": "CreatePolicy",
    "policies:delete": "DeletePolicy",
    "policies:get": "CreatePolicyDryRun GetPolicy GetPolicyUsages",
    "policies:list": "ListPolicies",
    "policies:update": "UpdatePolicy",
    "sandboxes:control": "",
    "sandboxes:create": "CreateSandbox CreateSandboxPreview CreateSandboxSchedule ForkSandbox",
    "sandboxes:delete": (
        "DeleteSandbox DeleteSandboxPreview DeleteSandboxPreviewToken DeleteSandboxSchedule "
        "DeleteSandboxSnapshot"
    ),
    "sandboxes:get": (
        "GetSandbox GetSandboxByExternalId GetSandboxPreview GetSandboxSchedule "
        "ListSandboxPreviewTokens ListSandboxPreviews ListSandboxScheduleExecutions "
        "ListSandboxSchedules"
    ),
    "sandboxes:list": "GetEgressGatewayUsage GetPolicyUsages ListSandboxSnapshots ListSandboxes",
    "sandboxes:update": (
        "CreateSandboxPreviewToken CreateSandboxSnapshot UpdateSandbox UpdateSandboxPreview "
        "UpdateSandboxSchedule"
    ),
    "sandboxhub:list": "ListSandboxHubDefinitions",
    "templates:get": "GetTemplate",
    "templates:list": "ListTemplates",
    "volumes:create": "CreateVolume",
    "volumes:delete": "DeleteVolume",
    "volumes:get": "GetVolume GetVolumeByExternalId",
    "volumes:list": "ListVolumes",
    "volumes:update": "UpdateVolume",
    "volumeTemplates:create": "CreateVolumeTemplate",
    "volumeTemplates:delete": "DeleteVolumeTemplate DeleteVolumeTemplateVersion",
    "volumeTemplates:get": "GetVolumeTemplate",
    "volumeTemplates:list": "ListVolumeTemplates",
    "volumeTemplates:upsert": "UpdateVolumeTemplate",
    "workspaces:accept": "AcceptWorkspaceInvitation",
    "workspaces:create": "CreateWorkspace",
    "workspaces:decline": "DeclineWorkspaceInvitation",
    "workspaces:delete": "DeleteWorkspace",
    "workspaces:get": "GetWorkspace GetWorkspaceServiceAccounts",
    "workspaces:invite": "InviteWorkspaceUser",
    "workspaces:leave": "LeaveWorkspace",
    "workspaces:list": "ListWorkspaceUsers ListWorkspaces",
    "workspaces:remove": "RemoveWorkspaceUser",
    "workspaces:update": (
        "CreateWorkspaceServiceAccount DeleteWorkspaceServiceAccount UpdateWorkspace "
        "UpdateWorkspaceServiceAccount UpdateWorkspaceUserRole"
    ),
}
"""Scope to the ids of the operations that need it; some have no operation of their own here."""


WORKLOADS = {
    "agents": "agents:run",
    "functions": "functions:run",
    "jobs": "jobs:run",
    "models": "models:run",
    "sandboxes": "sandboxes:control",
}
"""What a scoped credential needs in the Inference API, by kind of workload."""

IDENTITY = ("openid", "profile", "email", "offline_access")
"""Scopes of OpenID Connect: about the person, not about resources."""

ANYBODY = frozenset({"GetProfile"})
"""Operations that any valid credential may use: they tell it about itself."""


def _inverted() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for scope, ids in _OPERATIONS.items():
        for operation in ids.split():
            found[operation].add(scope)
    return {operation: frozenset(scopes) for operation, scopes in found.items()}


SCOPES = _inverted()
"""Operation id to the scopes it needs, all of them."""

RESOURCE_SCOPES = frozenset(_OPERATIONS) | frozenset(WORKLOADS.values())
"""Every scope that says something about resources."""


def scopes_of(operation_id: str | None) -> frozenset[str]:
    """What a scoped credential needs for an operation; empty when any will do."""
    if operation_id in ANYBODY:
        return frozenset()
    return SCOPES.get(operation_id or "", frozenset({ADMIN}))
