"""Wire facts in words for people."""

from datetime import datetime

from serai.kernel.clock import now, parse_rfc3339

BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def browser_name(user_agent: str) -> str:
    """``Firefox on Linux``; of other programs the beginning of what they call themselves."""
    browser = next((name for mark, name in BROWSERS if mark in user_agent), None)
    system = next((name for mark, name in SYSTEMS if mark in user_agent), None)
    if browser is None:
        return user_agent[:60] or "Unknown program"
    return f"{browser} on {system}" if system else browser


def moment_text(text: str, at: datetime | None = None) -> str:
    """How long ago something was; after a month its date."""
    then = parse_rfc3339(text)
    seconds = ((at or now()) - then).total_seconds()
    if seconds < 90:
        return "just now"
    for limit, size, name in ((5400, 60, "minutes"), (129600, 3600, "hours")):
        if seconds < limit:
            return f"{round(seconds / size)} {name} ago"
    if seconds < 30 * 86400:
        return f"{round(seconds / 86400)} days ago"
    return f"on {then.day} {then:%B %Y}"
