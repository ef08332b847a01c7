"""What the capacity assets share: their group in Dagster, and when ``ratio`` and ``sizing`` are made by themselves."""

import dagster as dg

GROUP = "capacity"

EAGER_ALLOWING_MISSING_DEPS = dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())
"""Materialize when a dependency has changed, even if the result of one platform is missing."""
