"""The four steps over a batch: ``raw``, ``normalized``, ``transcript``, ``enriched``.

A step takes the key of a batch, reads and writes store and ledger, and returns a report; it hands no object to the next step,
so each can be a process or a machine of its own. What is wrong with a recording is noted in the ledger and the batch goes on;
what is wrong with the machine is raised.
"""
