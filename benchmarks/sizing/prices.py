"""What a node costs and how much of it pods may use. The file that is shipped is dated; see its head."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchmarks.files import RefusedError, parse_record, read_yaml

DEFAULT_PRICES = Path(__file__).with_name("prices.yaml")


class Node(BaseModel):
    """A machine type."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    provider: str
    vcpus: int = Field(ge=1, le=4096)
    memory_gib: float = Field(gt=0)
    gpu: str | None = None
    gpus: int = Field(default=0, ge=0)
    per_hour: float | None = Field(gt=0)

    @model_validator(mode="after")
    def _kind_and_number(self) -> Node:
        if (self.gpu is None) != (self.gpus == 0):
            raise ValueError("gpu and gpus belong together")
        return self

    @property
    def allocatable_cpus(self) -> float:
        """What is left for pods.

        Managed nodes keep 6 % of the first core, 1 % of the second, 0.5 % of the next two and 0.25 % of the others (the published
        rule of GKE and EKS).
        """
        reserved = sum(0.06 if i == 0 else 0.01 if i == 1 else 0.005 if i < 4 else 0.0025 for i in range(self.vcpus))
        return self.vcpus - reserved

    @property
    def allocatable_gib(self) -> float:
        """What is left for pods.

        Kept are 25 % of the first 4 GiB, 20 % of the next 4, 10 % of the next 8, 6 % of the next 112 and 2 % of the rest, and
        100 MiB below which pods are evicted (GKE's published rule, the stricter one).
        """
        reserved, remaining = 0.1, self.memory_gib
        for size, share in ((4.0, 0.25), (4.0, 0.2), (8.0, 0.1), (112.0, 0.06), (float("inf"), 0.02)):
            slice_gib = min(remaining, size)
            reserved, remaining = reserved + slice_gib * share, remaining - slice_gib
        return self.memory_gib - reserved

    def count_fitting_pods(self, cpus: float, memory_gib: float) -> int:
        """How many pods of a size fit."""
        return int(min(self.allocatable_cpus // cpus, self.allocatable_gib // memory_gib))


class Prices(BaseModel):
    """A price file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    read: dt.date = Field(description="When the prices were read where they come from.")
    source: str
    currency: str = Field(min_length=1)
    nodes: tuple[Node, ...] = Field(min_length=1)

    def cpu_node(self, name: str | None, per_hour: float | None) -> Node:
        """The CPU-only node to order: the one named, or the first.

        Args:
            name: Its name; None takes the first that has a price, or the first.
            per_hour: A price per hour that replaces the file's; None keeps the file's.

        Raises:
            RefusedError: There is none of that name, or no price for it.
        """
        cpu_nodes = [node for node in self.nodes if node.gpu is None]
        candidates = [node for node in cpu_nodes if name in (None, node.name)]
        if not candidates:
            names = ", ".join(node.name for node in cpu_nodes) or "none"
            raise RefusedError(f"The price file has no CPU-only node {name or ''}; it has {names}.")
        node = next((candidate for candidate in candidates if candidate.per_hour is not None), candidates[0])
        if per_hour is not None:
            if not 0 < per_hour < float("inf"):
                raise RefusedError(f"A price of {per_hour:g} per hour is none; give a number above 0.")
            node = node.model_copy(update={"per_hour": per_hour})
        if node.per_hour is None:
            raise RefusedError(
                f"The price file has no price for the CPU-only node {node.name}. Give it with --cpu-node-price, or in a file of "
                "your own with --prices."
            )
        return node

    def gpu_nodes(self, gpu: str) -> list[Node]:
        """The nodes with such GPUs that have a price."""
        return [node for node in self.nodes if node.gpu == gpu and node.per_hour is not None]


def read_prices(path: Path = DEFAULT_PRICES) -> Prices:
    """Read a price file (YAML or JSON).

    Raises:
        RefusedError: It is missing or not in the form of the shipped one; names the field.
    """
    return parse_record(path, read_yaml(path), Prices, "a price file in the form of benchmarks/sizing/prices.yaml")
