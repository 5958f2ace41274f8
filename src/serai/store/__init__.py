"""Durable state: the database behind two functions, its tables and migrations, and encryption."""
