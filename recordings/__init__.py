"""What we hold and what became of it: the store, identity, arrivals, batches, the ledger, and the steps that move a recording on.

Here belongs every decision about a recording that is not about sound: is it new, whose bytes are they, which batch takes it,
what state is it in, which outputs exist. Here do not belong Dagster (a step is called by an asset, never the other way round)
and signal processing (that is ``speech``).
"""
