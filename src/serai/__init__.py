"""Serai: a self-hosted platform for AI agents that speaks the Blaxel APIs."""

__version__ = "0.1.0"
