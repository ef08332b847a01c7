"""The ``ratio`` asset: how platforms compare."""

import dagster as dg

from assets.capacity.benchmark import benchmark
from assets.capacity.common import EAGER_ALLOWING_MISSING_DEPS, GROUP
from assets.common import plots
from assets.common.checks import make_check_specs, to_check_result
from assets.common.metadata import make_table
from assets.common.resources import CapacityResource
from assets.common.step import OWNERS
from benchmarks.platform import trust
from benchmarks.platform.gather import compute_ratios, load_results
from benchmarks.platform.ratio import CONFIG_NAME, write_ratio


@dg.asset(
    name="ratio",
    deps=[benchmark],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"python", "json"},
    code_version="1",
    automation_condition=EAGER_ALLOWING_MISSING_DEPS,
    check_specs=make_check_specs("ratio", [trust.NARROW_RULE], None),
    description="How many times as long each platform takes as the reference, with 95 % intervals: ratio_config.json.",
)
def ratio(capacity: CapacityResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Compare the newest results."""
    gathered = load_results(capacity.path)
    config, refused = compute_ratios(gathered, capacity.reference)
    if config is not None:
        write_ratio(config, capacity.path / CONFIG_NAME)
    else:
        (capacity.path / CONFIG_NAME).unlink(missing_ok=True)
    found = config.ratios if config else ()
    rows = [
        (
            one.model_size,
            one.a.platform,
            one.b.platform,
            f"{one.ratio:.3f}",
            f"{one.interval[0]:.3f} to {one.interval[1]:.3f}",
        )
        for one in found
    ]
    metadata: dict[str, dg.MetadataValue] = {
        "ratios": make_table(("model", "from", "to", "ratio", "95 % interval"), rows),
    }
    if found:
        metadata["plot"] = plots.plot_ratios(found)
    if left_out := (*refused, *gathered.refused):
        metadata["left_out"] = make_table(("why",), [(line,) for line in left_out])
    return dg.MaterializeResult(metadata=metadata, check_results=[to_check_result(trust.check_ratios(found, refused))])
