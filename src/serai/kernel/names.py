"""The rules of names, labels and external ids, with messages that name field and fix."""

import re

from serai.kernel.errors import BadRequest

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\Z")
EXTERNAL_ID = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
NAME_MAX = 49
LABELS_MAX = 50
LABEL_KEY_MAX = 128
LABEL_VALUE_MAX = 1024


def check_name(value: str, field: str = "metadata.name") -> str:
    """The name itself when it keeps the rules.

    Raises:
        BadRequest: naming the field, the value and the rule.
    """
    if len(value) <= NAME_MAX and NAME.match(value):
        return value
    raise BadRequest(
        f"{field} {value[:80]!r} is not a valid name: use 1 to {NAME_MAX} characters, lowercase "
        "letters and digits, with single hyphens between them.",
        code="INVALID_NAME",
    )


def check_external_id(value: str, field: str = "metadata.externalId") -> str:
    """The external id itself when it is 1 to 64 letters, digits and hyphens."""
    if EXTERNAL_ID.match(value):
        return value
    raise BadRequest(
        f"{field} {value[:80]!r} is not valid: use 1 to 64 letters, digits and hyphens.",
        code="INVALID_EXTERNAL_ID",
    )


def check_labels(labels: dict[str, str]) -> None:
    """Labels must be few and short enough to list and search.

    Raises:
        BadRequest: naming the label and the limit.
    """
    if len(labels) > LABELS_MAX:
        raise BadRequest(f"metadata.labels has {len(labels)} entries; at most {LABELS_MAX}.")
    for key, value in labels.items():
        if not 1 <= len(key) <= LABEL_KEY_MAX:
            raise BadRequest(
                f"metadata.labels has a key of {len(key)} characters; use 1 to {LABEL_KEY_MAX}."
            )
        if len(value) > LABEL_VALUE_MAX:
            raise BadRequest(
                f"metadata.labels[{key!r}] has {len(value)} characters; at most {LABEL_VALUE_MAX}."
            )
