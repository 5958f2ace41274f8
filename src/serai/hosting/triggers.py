"""The triggers of a deployment, from its settings; and where results of calls may not go."""

from urllib.parse import urlsplit

from serai.hosting.deployments import Trigger
from serai.kernel.errors import BadRequest
from serai.kernel.outgoing import AddressForbidden, check_host
from serai.resources.kind import Body

PUBLIC = "public"


def triggers_of(spec: Body) -> tuple[Trigger, ...]:
    """Those that are enabled, secrets in clear."""
    found = []
    for each in spec.get("triggers") or []:
        if each.get("enabled") is False:
            continue
        settings = each.get("configuration") or {}
        path = "/" + settings["path"].strip("/") if settings.get("path") else ""
        found.append(
            Trigger(
                id=each["id"],
                type=each.get("type") or "http",
                path=path,
                public=settings.get("authenticationType") == PUBLIC or bool(spec.get("public")),
                schedule=settings.get("schedule") or "",
                timeout=settings.get("timeout") or 900,
                retry=settings.get("retry") or 0,
                callback_url=settings.get("callbackUrl") or "",
                callback_secret=settings.get("callbackSecret") or "",
                tasks=tuple(settings.get("tasks") or ()),
            )
        )
    return tuple(found)


def check_callbacks(spec: Body, *, private: bool) -> None:
    """Refuse results to this machine and private networks, unless that is allowed.

    What a name leads to is looked at when a result is sent.

    Raises:
        BadRequest: naming the field and the setting.
    """
    for number, each in enumerate(spec.get("triggers") or []):
        url = (each.get("configuration") or {}).get("callbackUrl")
        if not url:
            continue
        try:
            check_host(urlsplit(url).hostname or "", private)
        except AddressForbidden as problem:
            raise BadRequest(
                f"spec.triggers[{number}].configuration.callbackUrl must not call {problem}; the"
                " operator may allow it with the setting private_callbacks."
            ) from None
