"""How the ledger's tables came to be as they are: one Alembic revision per change, applied when a ledger is opened.

To make one: change ``recordings.ledger.schema``, copy the newest revision, raise its number and describe both directions.
"""
