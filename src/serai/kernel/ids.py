"""Identifiers: random, URL-safe, and unguessable where it matters."""

import secrets
import uuid

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def token(length: int) -> str:
    """``length`` characters of ``[0-9a-z]`` from the system's secure source."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def new_uuid() -> str:
    """A random UUID (version 4) as text."""
    return str(uuid.uuid4())
