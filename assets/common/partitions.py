"""The partitions that assets, sensors, schedules and commands share."""

from __future__ import annotations

import dagster as dg

batches = dg.DynamicPartitionsDefinition(name="batches")
"""One partition per batch of recordings. A run costs seconds and an event tens of milliseconds, so a partition per recording would
end at some 100,000 of them (Dagster's own limit); the members of a batch stand in the ledger."""

platform_models = dg.DynamicPartitionsDefinition(name="platform_models")
"""A platform and a model, ``m4_base``: what one result stands for."""
