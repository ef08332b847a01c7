"""The configuration that run launcher and executor share, as Dagster reads it."""

from __future__ import annotations

import dagster as dg

STEP_FIELDS = {
    "step_profiles": dg.Field(
        dg.Map(str, dg.Permissive(), key_label_name="step"),
        is_required=False,
        description="Per step, keys of its profile (k8s_run_launcher/profiles.py) over the defaults.",
    ),
    "step_patience": dg.Field(
        dg.Permissive(),
        is_required=False,
        description="Seconds that a step's pod may wait: unschedulable_s, image_s, setup_s, quota_s.",
    ),
    "memory_factor": dg.Field(
        float, is_required=False, description="By how much the memory limit grows after OOMKilled; default 2."
    ),
    "health_interval_s": dg.Field(
        int, is_required=False, description="Seconds between two looks at the pods of running steps; default 10."
    ),
}

RUN_FIELDS = {
    "run_deadline_s": dg.Field(
        int, is_required=False, description="Seconds after which a run's Job is ended; default a day."
    ),
    "run_ttl_s": dg.Field(
        int, is_required=False, description="Seconds that a run's ended Job stays to be looked at; default an hour."
    ),
}
