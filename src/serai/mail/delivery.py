"""Handing one mail to an SMTP server; it blocks, so it runs in a thread."""

import smtplib
import ssl
from email.message import EmailMessage

from serai.kernel.smtp import SmtpServer

SECONDS = 20


class NeverTaken(Exception):
    """The server said that it will never take this mail."""


def hand_over(server: SmtpServer, message: EmailMessage) -> None:
    """Give a mail to the server.

    Raises:
        NeverTaken: it refuses the recipient or the mail for good.
        smtplib.SMTPException: it did not take it this time.
        OSError: it cannot be reached, or its certificate is not good.
    """
    with _connected(server) as smtp:
        if server.user is not None:
            smtp.login(server.user, server.password)
        try:
            smtp.send_message(message)
        except smtplib.SMTPRecipientsRefused as problem:
            code, text = next(iter(problem.recipients.values()))
            if code >= 500:
                raise NeverTaken(_said(code, text)) from problem
            raise
        except smtplib.SMTPDataError as problem:
            if problem.smtp_code >= 500:
                raise NeverTaken(_said(problem.smtp_code, problem.smtp_error)) from problem
            raise


def _connected(server: SmtpServer) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if server.tls:
        return smtplib.SMTP_SSL(server.host, server.port, timeout=SECONDS, context=context)
    smtp = smtplib.SMTP(server.host, server.port, timeout=SECONDS)
    try:
        smtp.ehlo()
        offered = smtp.has_extn("starttls")
        if server.starttls == "required" and not offered:
            raise smtplib.SMTPNotSupportedError("the server does not offer STARTTLS")
        if server.starttls != "never" and offered:
            smtp.starttls(context=context)
            smtp.ehlo()
        elif server.starttls == "offered" and server.user is not None:
            raise smtplib.SMTPNotSupportedError("no password is sent without encryption")
    except BaseException:
        smtp.close()
        raise
    return smtp


def _said(code: int, text: bytes | str) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {words}"[:300]
