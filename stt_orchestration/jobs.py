"""The jobs an operator launches."""

from __future__ import annotations

import dagster as dg

JOB_NAME = "transcribe_batch"

transcribe_batch = dg.define_asset_job(
    JOB_NAME,
    selection=dg.AssetSelection.assets("raw", "normalized", "transcript", "enriched"),
    description="Turns a batch of recordings into transcripts, step by step. Work that is finished is left as it is.",
)
