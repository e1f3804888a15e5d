"""What `SQLiteStore` needs of SQLite: statements, connections on threads, transactions."""
