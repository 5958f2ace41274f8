"""The rules of domain names."""

import ipaddress
import re

from serai.kernel.errors import BadRequest

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
DOMAIN_MAX = 200
"""Leaves room for the names that verification puts before it (253 is the limit of DNS)."""


def is_domain(text: str) -> bool:
    """Whether a text is a lower-case domain name of two labels or more, and no IP address."""
    labels = text.split(".")
    if len(labels) < 2 or len(text) > DOMAIN_MAX or not all(map(LABEL.match, labels)):
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return not labels[-1].isdigit()
    return False


def check_domain(text: str, field: str = "metadata.name") -> str:
    """The domain itself when it keeps the rules.

    Raises:
        BadRequest: naming the field, the value and the rule.
    """
    if is_domain(text):
        return text
    raise BadRequest(
        f"{field} {text[:80]!r} is not a domain name: use two or more labels of lowercase letters, "
        f"digits and hyphens, for example preview.example.com, at most {DOMAIN_MAX} characters. "
        "Leave out a scheme, a port, a wildcard and a final dot; write other scripts in punycode.",
        code="INVALID_NAME",
    )
