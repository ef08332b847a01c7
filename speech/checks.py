"""A named check and its result: one type for every place that looks whether something holds.

It is used by the checks of a batch (``recordings.steps``), the rules of trust in a measurement (``benchmarks.platform.trust``),
the preflight of a cluster (``k8s_run_launcher.preflight``) and ``stt doctor``. It has nothing to do with audio. It lies here
because ``speech`` is the only package that ``recordings``, ``benchmarks`` and ``k8s_run_launcher`` may all import.

Here belong the two types. Here does not belong a check itself, nor how one is shown: ``assets.common.checks`` converts results for
Dagster, ``stt_orchestration.cli`` prints them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field


@dataclass(frozen=True, slots=True)
class Check:
    """What should hold.

    Attributes:
        name: Short, as it is shown; in Dagster the name of the asset check.
        rule: What should hold, as a sentence.
        remedy: What to do where it does not hold, if that is the same whatever was found.
        stops: Whether nothing may go on where it does not hold; otherwise it is a warning.
    """

    name: str
    rule: str
    remedy: str = ""
    stops: bool = False


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What was found when a check was made.

    Attributes:
        check: Which.
        passed: True: the rule holds. False: it does not. None: neither can be said, and ``sentence`` is a note: something could
            not be looked at, or it works and a person should still know.
        sentence: What was found, in words for the person who operates the system.
        remedy: What to do about this finding. Empty where nothing is to be done, or where the sentence says it.
        figures: Counts and rates by name.
        examples: The first things that break the rule, each as its name and a sentence about it.
    """

    check: Check
    passed: bool | None
    sentence: str
    remedy: str = ""
    _: KW_ONLY
    figures: Mapping[str, int | float] = field(default_factory=dict)
    examples: tuple[tuple[str, str], ...] = ()
