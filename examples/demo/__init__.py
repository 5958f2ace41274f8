"""`python -m examples.demo`: the official Python SDK, unmodified, against a real Serai."""
