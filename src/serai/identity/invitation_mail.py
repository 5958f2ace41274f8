"""The mail that brings an invitation."""

from serai.kernel.clock import parse_rfc3339
from serai.mail.message import Mail
from serai.wire.identity import PendingInvitation

PATH = "/invitations"


def link_of(origin: str, secret: str) -> str:
    """Where an invitation is looked at, accepted and declined."""
    return f"{origin}{PATH}?token={secret}"


def mail_of(invitation: PendingInvitation, link: str) -> Mail:
    """What the invited person reads."""
    until = parse_rfc3339(invitation.expires_at or "")
    who = invitation.created_by or "An admin"
    return Mail(
        to=invitation.email or "",
        subject=f"Invitation to the workspace {invitation.workspace} on Serai",
        lines=[
            f"{who} invites you to the workspace {invitation.workspace} as {invitation.role}.",
            f"The link is good until {until.day} {until:%B %Y, %H:%M} UTC, and for one person.",
        ],
        button="Look at the invitation",
        link=link,
        end=["If you do not expect this, do nothing: you become a member only if you accept."],
    )
