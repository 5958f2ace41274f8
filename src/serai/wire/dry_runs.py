"""Dry runs of policies against calls of models that were made; an extension of ours."""

from typing import Any

from serai.wire.common import Wire
from serai.wire.models import PolicySpec


class PolicyDryRunRequest(Wire, kw_only=True, forbid_unknown_fields=True):
    """What to try, and on which calls.

    Attributes:
        policy: name of a policy of the workspace; or
        spec: a policy that is not stored.
        models: names of models; all of the workspace when absent.
        start_time: RFC 3339, where the window of calls begins.
        end_time: where it ends.
    """

    policy: str | None = None
    spec: PolicySpec | None = None
    models: list[str] | None = None
    start_time: str
    end_time: str


class DryRunRefusal(Wire, kw_only=True, omit_defaults=False):
    """A call that would have been refused; ``limit`` and ``reset_at`` as in the refusal itself."""

    time: str
    model: str
    request_id: str
    tokens: int
    limit: dict[str, Any] | None = None
    reset_at: str | None = None


class DryRunModel(Wire, kw_only=True, omit_defaults=False):
    """What the policy would have done to the calls of one model; times are of refused calls."""

    model: str
    calls: int = 0
    tokens: int = 0
    refused: int = 0
    refused_tokens: int = 0
    first_refused_at: str | None = None
    last_refused_at: str | None = None


class PolicyDryRun(Wire, kw_only=True, omit_defaults=False):
    """What a policy would have done.

    Attributes:
        policy: its name; ``spec`` for one from the body.
        type: its type.
        start_time: of the window.
        end_time: of the window.
        calls: that were looked at.
        tokens: they used.
        refused: of them.
        refused_tokens: used by these.
        unrecorded_tokens: counted in the window by calls of which no row was kept; None where
            that is not known any more.
        reason: why a policy of locations or flavors refuses; None when it does not.
        models: by name.
        refusals: the first thousand, in order.
    """

    policy: str
    type: str
    start_time: str
    end_time: str
    calls: int
    tokens: int
    refused: int
    refused_tokens: int
    unrecorded_tokens: int | None
    reason: str | None
    models: list[DryRunModel]
    refusals: list[DryRunRefusal]
