"""Every table, one module per domain, on one MetaData."""

from sqlalchemy import MetaData

metadata = MetaData()
