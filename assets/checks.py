"""Checks as Dagster knows them: specs for the assets, and results that a step yields together with its materialization.

A check in an op of its own would be a Kubernetes Job of its own, seconds for milliseconds of work; and it would run beside the step
below, not before it.
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
    """A check, whoever makes its rule."""

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
        partitions: The asset's; a verdict is then of one of them.
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
    """A verdict as Dagster keeps it: an error stops what lies below, a warning does not."""
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
