"""What programs that read an error are to do about it, and what not: the contract's fields."""

from typing import NamedTuple

DOCS = "docs/reference/errors.md#the-gateway"
"""Where errors of the gateway are described, in the documentation of this project."""


class Advice(NamedTuple):
    """For one code: what to do, what not to do, and where it is described."""

    action: str
    do_not: str
    docs_url: str = DOCS


ADVICE = {
    "ROUTE_NOT_FOUND": Advice(
        "Take the address from the resource itself (metadata.url, or spec.url of a preview).",
        "Do not retry, and do not guess addresses.",
    ),
    "WORKLOAD_NOT_FOUND": Advice(
        "Check workspace, kind and name in the path against the list of the management API.",
        "Do not retry before it was created.",
    ),
    "WORKSPACE_NOT_FOUND": Advice(
        "Check the workspace in the path.", "Do not retry with the same path."
    ),
    "WORKLOAD_UNAVAILABLE": Advice(
        "Read the message: wait as long as Retry-After says and retry, or fix the deployment; its"
        " events and logs say more.",
        "Do not retry in a tight loop.",
    ),
    "AUTHENTICATION_REQUIRED": Advice(
        "Send an API key or access token as 'Authorization: Bearer …'.",
        "Do not retry without a credential.",
    ),
    "AUTHENTICATION_FAILED": Advice(
        "Make or fetch a new API key or access token.", "Do not retry with the same credential."
    ),
    "FORBIDDEN": Advice(
        "Use a credential of a member of the workspace, with the scope that the message names.",
        "Do not retry with the same credential.",
    ),
    "BAD_REQUEST": Advice("Fix what the message names.", "Do not retry the same request."),
    "USAGE_LIMIT_EXCEEDED": Advice(
        "Ask an admin to raise the quota or budget, or wait until it starts anew.",
        "Do not retry before that.",
    ),
    "POLICY_VIOLATION": Advice(
        "Read what the policy allows in the message, and ask for that.",
        "Do not retry the same request.",
    ),
    "REQUEST_ENTITY_TOO_LARGE": Advice("Send a smaller body.", "Do not retry the same request."),
}


def advice(code: str) -> dict[str, str]:
    """The fields for an error of this code; none for codes of our own."""
    found = ADVICE.get(code)
    return found._asdict() if found is not None else {}
