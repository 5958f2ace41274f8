"""What each scope lets an application do, in words."""

from serai.api.scopes import ADMIN

WHOLE = "Everything that you may do yourself"
IDENTITY = {
    "openid": "Know who you are (an identifier)",
    "profile": "Know your name",
    "email": "Know your e-mail address",
    "offline_access": "Keep its access while you are away, until you take it back",
}
VERBS = {
    "call": "call",
    "create": "create",
    "delete": "delete",
    "get": "read",
    "list": "list",
    "share": "share",
    "update": "change",
    "write": "create and delete",
}
ORDER = ("list", "read", "call", "create", "change", "share", "delete", "create and delete")
NAMES = {
    "accounts": "account, usage and bill",
    "apiKey": "API keys",
    "customdomains": "custom domains",
    "egressgateways": "egress gateways",
    "egressips": "egress addresses",
    "featureFlags": "feature flags",
    "volumeTemplates": "volume templates",
    "workspaceUsers": "people of the workspace",
}


def in_words(scope: str) -> list[str]:
    """Lines for people: who they are first, then each kind of thing with what may be done."""
    words = list(dict.fromkeys(scope.split()))
    lines = [IDENTITY[word] for word in IDENTITY if word in words]
    if ADMIN in words:
        return [*lines, WHOLE]
    kinds: dict[str, list[str]] = {}
    for word in words:
        if word not in IDENTITY:
            kind, _, verb = word.partition(":")
            kinds.setdefault(kind, []).append(VERBS.get(verb, verb))
    return lines + [_line(kind, verbs) for kind, verbs in sorted(kinds.items())]


def _line(kind: str, verbs: list[str]) -> str:
    known = sorted(verbs, key=lambda verb: ORDER.index(verb) if verb in ORDER else len(ORDER))
    text = known[0] if len(known) == 1 else f"{', '.join(known[:-1])} and {known[-1]}"
    return f"{text.capitalize() or 'Use'} {NAMES.get(kind, _spaced(kind))}"


def _spaced(kind: str) -> str:
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in kind)
