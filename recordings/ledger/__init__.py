"""What became of each recording: the ledger's tables and questions, its locks and migrations.

Here belongs everything that is kept in the database, on SQLite or PostgreSQL. Here do not belong bytes (``recordings.storage``).
"""
