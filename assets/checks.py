"""Checks as Dagster knows them: specs for the assets, and results that a step yields together with its materialization.

A check in its own op would need its own Kubernetes Job: seconds of start for milliseconds of work. It would also run in parallel
with the next step and could not block it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Protocol

import dagster as dg

from assets.metadata import table
from assets.partitions import batches
from recordings.checks import Verdict


class _Ruled(Protocol):
    """What ``recordings.checks.Check`` and ``benchmarks.trust.Rule`` have in common."""

    @property
    def name(self) -> str: ...
    @property
    def rule(self) -> str: ...
    @property
    def stops(self) -> bool: ...


def specs(
    asset: str, checks: Sequence[_Ruled], partitions: dg.PartitionsDefinition[str] | None = batches
) -> list[dg.AssetCheckSpec]:
    """The specs of an asset's checks.

    Args:
        asset: Its name.
        checks: What is checked.
        partitions: The partitions of the asset; each check result then belongs to one partition.
    """
    with warnings.catch_warnings():
        # Since 1.13 a result knows its partition, marked as a preview: a test holds it, and an operator cannot act on the warning.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [
            dg.AssetCheckSpec(
                check.name, asset=asset, description=check.rule, blocking=check.stops, partitions_def=partitions
            )
            for check in checks
        ]


def result(verdict: Verdict) -> dg.AssetCheckResult:
    """Convert a check result for Dagster. Severity ERROR blocks the following assets, WARN does not."""
    figures = {
        name: dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.float(value)
        for name, value in verdict.figures.items()
    }
    named = {"recordings": table(("recording", "finding"), verdict.named)} if verdict.named else {}
    return dg.AssetCheckResult(
        passed=verdict.passed,
        check_name=verdict.check.name,
        severity=dg.AssetCheckSeverity.ERROR if verdict.check.stops else dg.AssetCheckSeverity.WARN,
        description=verdict.sentence,
        metadata={**figures, **named},
    )
