"""Where the bytes live: the interface of a store, the one on a directory, the one on S3.

Here belongs how bytes are written and read whole, once and safely. Here does not belong which key a file has
(``recordings.layout``) or what became of a recording (``recordings.ledger``).
"""
