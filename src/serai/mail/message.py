"""What a mail is, and its form on the wire."""

from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from html import escape

import msgspec

from serai.kernel.clock import parse_rfc3339


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail to one person: lines of text around one link."""

    to: str
    subject: str
    lines: list[str]
    button: str
    link: str
    end: list[str] = []


def rendered(mail: Mail, sender: str, mail_id: str, created_at: str) -> EmailMessage:
    """Text and HTML of a mail; repetitions have one ``Message-ID``, so that readers drop them.

    Raises:
        ValueError: a header would break into two.
    """
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = sender, mail.to, mail.subject
    message["Date"] = format_datetime(parse_rfc3339(created_at))
    domain = sender.rpartition("@")[2].rstrip(">") or None
    message["Message-ID"] = f"<{mail_id}@{domain}>" if domain else make_msgid()
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n\n".join([*mail.lines, mail.link, *mail.end]) + "\n")
    message.add_alternative(_html(mail), subtype="html")
    return message


def _html(mail: Mail) -> str:
    before = "".join(f"<p>{escape(line)}</p>" for line in mail.lines)
    after = "".join(f"<p><small>{escape(line)}</small></p>" for line in mail.end)
    link = escape(mail.link, quote=True)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escape(mail.subject)}</title>"
        '<body style="font-family:sans-serif;max-width:36em;margin:2em auto">'
        f'{before}<p><a href="{link}">{escape(mail.button)}</a></p>'
        f"<p><small>{link}</small></p>{after}</body></html>\n"
    )
