"""The jobs an operator launches."""

from __future__ import annotations

import dagster as dg

JOB_NAME = "transcribe_batch"

transcribe_batch = dg.define_asset_job(
    JOB_NAME,
    selection=dg.AssetSelection.assets("raw", "normalized", "transcript", "enriched"),
    # One process for the four steps: on one machine a process of its own costs each step 3 to 4 s of imports.
    executor_def=dg.in_process_executor,
    description="Turns a batch of recordings into transcripts, step by step. Work that is finished is left as it is.",
)
