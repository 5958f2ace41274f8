"""The mail for somebody who has forgotten their password."""

from serai.mail.message import Mail


def password_mail(to: str, link: str) -> Mail:
    """What they read."""
    return Mail(
        to=to,
        subject="A new password for Serai",
        lines=["Somebody, probably you, asked for a link to choose a new password with."],
        button="Choose a new password",
        link=link,
        end=[
            "The link is good for one hour, and once.",
            "If it was not you, do nothing: your password stays as it is.",
        ],
    )
