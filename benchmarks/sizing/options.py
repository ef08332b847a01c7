"""What the operator decides about the asset ``sizing``: the load, the platform and the prices."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator


class SizingOptions(BaseModel):
    """The load to size for, on which platform and at which prices. The settings take fields and descriptions from here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rps: float | None = Field(
        default=None, gt=0, description="A number above 0: requests a second that the sizing asset sizes a service for."
    )
    p95_s: float | None = Field(
        default=None, gt=0, description="Seconds above 0: 95th percentile of that service's response time at most."
    )
    mean_s: float | None = Field(
        default=None, gt=0, description="Seconds above 0: mean of that service's response time at most."
    )
    hours_per_day: float | None = Field(
        default=None,
        gt=0,
        description="A number above 0: hours of audio a day that the sizing asset sizes a batch for.",
    )
    deadline_h: float | None = Field(
        default=None, gt=0, description="Hours above 0 within which that batch is to be done."
    )
    gpus: list[str] = Field(
        default=[],
        description="GPUs that the batch is sized for as well: NAME=TIMES_REALTIME, @ORIGIN behind it for where that is from, with "
        "commas between several.",
    )
    platform: str | None = Field(
        default=None,
        description="The platform to size for, as its files are called (m4 of m4_base_2024-12-02.json); default: the reference.",
    )
    reference: str | None = Field(
        default=None, description="The platform that ratios start from; default: the one of the oldest result."
    )
    cpu_node_price: float | None = Field(
        default=None,
        gt=0,
        description="A number above 0: price of a CPU-only node an hour, in the price file's currency.",
    )
    prices: str | None = Field(
        default=None, description="A price file in the form of benchmarks/sizing/prices.yaml; default: that one."
    )

    @field_validator("gpus", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
