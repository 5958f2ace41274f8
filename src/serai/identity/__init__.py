"""Accounts, workspaces, users, roles and API keys: who is calling, and what they may touch."""
