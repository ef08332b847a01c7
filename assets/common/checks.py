"""Checks as Dagster knows them: specs for the assets, and results that a step yields together with its materialization.

A check in its own op would need its own Kubernetes Job: seconds of start for milliseconds of work. It would also run in parallel
with the next step and could not block it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import dagster as dg

from assets.common.metadata import make_table
from assets.common.partitions import batches
from speech.checks import Check, CheckResult


def make_check_specs(
    asset: str, checks: Sequence[Check], partitions: dg.PartitionsDefinition[str] | None = batches
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


def to_check_result(result: CheckResult) -> dg.AssetCheckResult:
    """Convert a check result for Dagster. Severity ERROR blocks the following assets, WARN does not.

    Dagster knows no third answer: a result of None is shown as one that did not pass, and never blocks.
    """
    figures = {
        name: dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.float(value)
        for name, value in result.figures.items()
    }
    named = {"recordings": make_table(("recording", "finding"), result.examples)} if result.examples else {}
    stops = result.check.stops and result.passed is not None
    return dg.AssetCheckResult(
        passed=bool(result.passed),
        check_name=result.check.name,
        severity=dg.AssetCheckSeverity.ERROR if stops else dg.AssetCheckSeverity.WARN,
        description=result.sentence,
        metadata={**figures, **named},
    )
