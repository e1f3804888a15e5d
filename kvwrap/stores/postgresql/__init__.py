"""PostgreSQL."""

from kvwrap.stores.postgresql.store import PostgreSQLStore

__all__ = ["PostgreSQLStore"]
