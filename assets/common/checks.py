"""Checks as Dagster knows them: specs for the assets, and results that a step yields together with its materialization.

A check in its own op would need its own Kubernetes Job: seconds of start for milliseconds of work. It would also run in parallel
with the next step and could not block it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Protocol

import dagster as dg

from assets.common.metadata import make_table
from assets.common.partitions import batches
from recordings.steps.checks import CheckResult


class _CheckRule(Protocol):
    """What ``recordings.steps.checks.Check`` and ``benchmarks.platform.trust.TrustRule`` have in common."""

    @property
    def name(self) -> str: ...
    @property
    def rule(self) -> str: ...
    @property
    def stops(self) -> bool: ...


def make_check_specs(
    asset: str, checks: Sequence[_CheckRule], partitions: dg.PartitionsDefinition[str] | None = batches
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


def to_check_result(verdict: CheckResult) -> dg.AssetCheckResult:
    """Convert a check result for Dagster. Severity ERROR blocks the following assets, WARN does not."""
    figures = {
        name: dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.float(value)
        for name, value in verdict.figures.items()
    }
    named = {"recordings": make_table(("recording", "finding"), verdict.examples)} if verdict.examples else {}
    return dg.AssetCheckResult(
        passed=verdict.passed,
        check_name=verdict.check.name,
        severity=dg.AssetCheckSeverity.ERROR if verdict.check.stops else dg.AssetCheckSeverity.WARN,
        description=verdict.sentence,
        metadata={**figures, **named},
    )
