"""Secrets of service accounts' keys, sealed: signatures of S3 are checked with the secret."""

from sqlalchemy import Column, LargeBinary, String, Table

from serai.store.tables import metadata

s3_secrets = Table(
    "s3_secrets",
    metadata,
    Column("key_id", String, primary_key=True),
    Column("workspace", String, nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),
)
