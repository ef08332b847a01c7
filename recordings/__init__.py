"""Everything about a recording except its sound.

The package stores its bytes, identifies it, notices new files and groups them into batches, keeps the ledger of states, and
contains the processing steps. It decides whether a file is new, which recording its bytes belong to, which batch processes it,
which state it is in and which outputs exist. It does not contain Dagster (a step is called by an asset, never the other way round)
or signal processing (that is ``speech``).
"""
