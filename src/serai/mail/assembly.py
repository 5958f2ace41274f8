"""Mail as the settings have it."""

from collections.abc import Callable, Coroutine
from typing import Any

from serai.kernel.settings import Settings
from serai.kernel.smtp import parse_smtp_url
from serai.mail.delivery import hand_over
from serai.mail.mailer import Mailer
from serai.mail.password_mail import password_mail
from serai.store.database import Database
from serai.store.secrets import Vault


def mailer_of(settings: Settings, db: Database, vault: Vault) -> Mailer | None:
    """What sends mail, where the settings name a server and a sender."""
    if settings.smtp_url is None or settings.mail_from is None:
        return None
    server = parse_smtp_url(settings.smtp_url)
    return Mailer(db, vault, settings.mail_from, lambda message: hand_over(server, message))


def sender_of(mailer: Mailer | None) -> Callable[[str, str], Coroutine[Any, Any, None]] | None:
    """What sends a link for a new password to an address."""
    if mailer is None:
        return None

    async def send(to: str, link: str) -> None:
        await mailer.send(password_mail(to, link))

    return send
