"""Which metrics are shown, and their names, from the service's metric schema."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from splitrail.metrics.v1 import metrics_pb2

from ..client import AsyncClient

TRAIN = "train_"
LOSS = "_loss"


@dataclass(frozen=True)
class MetricNames:
    """The metric schema. What its methods return is title -> canonical key, in the schema's order."""

    schema: Sequence[metrics_pb2.MetricDescriptor] = ()

    def headlines(self, values: Mapping[str, float]) -> dict[str, str]:
        """Those metrics among `values` that are shown where there is room for a few only."""
        return {item.title: item.key for item in self.schema if item.headline and item.key in values}

    def qualities(self, values: Mapping[str, float]) -> dict[str, str]:
        """Those metrics among `values` that rate predictions: ratios of which more is better."""
        ratios = [
            item for item in self.schema if item.unit == "ratio" and item.direction == metrics_pb2.DIRECTION_HIGHER
        ]
        return {item.title: item.key for item in ratios if item.key in values}

    def losses(self, values: Mapping[str, float]) -> dict[str, str]:
        """Training losses among `values`, titled `box` for train_box_loss. Those that the schema does not list come
        last.
        """
        found = [key for key in values if key.startswith(TRAIN) and key.endswith(LOSS)]
        order = [item.key for item in self.schema]
        found.sort(key=lambda key: (order.index(key) if key in order else len(order), key))
        return {key.removeprefix(TRAIN).removesuffix(LOSS): key for key in found}


async def metric_names(client: AsyncClient) -> MetricNames:
    """The names of the platform that the client is connected to."""
    return MetricNames(await client.metric_schema())


def fraction(value: float | None) -> str:
    """`0.873`, `nan`, or a dash when there is none."""
    return "–" if value is None else f"{value:.3f}"


def named(values: Mapping[str, float], keys: Mapping[str, str], part: str) -> str:
    """`val mAP50 0.873, val mAP50-95 0.601`. `keys`: by title."""
    return ", ".join(f"{part} {title} {fraction(values[key])}" for title, key in keys.items())
