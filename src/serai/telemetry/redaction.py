"""Taking personal data and keys out of text before it is kept.

Patterns find what has a form of its own: mail addresses, phone numbers, card numbers, keys. They
do not find names, postal addresses, dates of birth, numbers of accounts or passports, or anything
that is spelt out or split over several fields.
"""

import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

MOST_TEXT = 64 * 1024
"""Characters of one string that are looked at; the rest of a longer one is dropped."""

_MAIL = re.compile(r"[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.\-]{0,251})\.[A-Za-z]{2,24}")
_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[\s\S]{0,20000}?(?:-----END [A-Z ]{0,30}KEY-----|\Z)"
    r"|(?i:\bbearer\s+)[A-Za-z0-9._~+/\-]{16,}=*"
    r"|\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*)?"
    r"|\b(?:sk|pk|rk|sess)[-_][A-Za-z0-9_\-]{16,}"
    r"|\b(?:bl_|gsk_|hf_|xai-|csk-|pplx-|nvapi-|glpat-|npm_|dop_v1_|shpat_)[A-Za-z0-9_\-]{16,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}"
    r"|\bxox[abeprs]-[A-Za-z0-9\-]{10,}"
    r"|\bAIza[0-9A-Za-z_\-]{30,}"
)
_CARD = re.compile(r"(?<![\d.\-])\d(?:[ \-]?\d){12,18}(?![\d.])")
_PHONE = re.compile(
    r"(?<![\w+])\+\d(?:[ .()\-]{0,2}\d){7,14}(?!\d)"
    r"|(?<![\w.\-])\(?0\d{1,4}\)?(?:[ ./\-]{1,2}\d{2,8}){1,4}(?![\w.\-])"
    r"|(?<![\w.\-])\(?\d{3}\)?[ .\-]{1,2}\d{3}[ .\-]\d{4}(?![\w\-])"
)


def _is_card(text: str) -> bool:
    """Whether the check digit is right (ISO/IEC 7812, Luhn)."""
    digits = [int(each) for each in text if each.isdigit()]
    doubled = [sum(divmod(2 * each, 10)) for each in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def _has_phone_length(text: str) -> bool:
    return 8 <= sum(each.isdigit() for each in text) <= 15


_KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("key", _KEY, lambda _: True),
    ("email", _MAIL, lambda _: True),
    ("card", _CARD, _is_card),
    ("phone", _PHONE, _has_phone_length),
)


class Redactor:
    """Replaces what the patterns find, and counts it by kind."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()

    def text(self, text: str) -> str:
        """The text with ``[email]``, ``[phone]``, ``[card]`` and ``[key]`` in it instead."""
        if len(text) > MOST_TEXT:
            text = text[:MOST_TEXT] + "…"
        for kind, pattern, holds in _KINDS:
            text = pattern.sub(partial(self._put, kind, holds), text)
        return text

    def _put(self, kind: str, holds: Callable[[str], bool], found: re.Match[str]) -> str:
        if not holds(found[0]):
            return found[0]
        self.found[kind] += 1
        return f"[{kind}]"

    def value(self, value: Any) -> Any:
        """A JSON value with all its strings redacted, names of fields too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(each) for each in value]
        if isinstance(value, dict):
            return {self.text(name): self.value(each) for name, each in value.items()}
        return value
