"""Metrics handed to Ray, whose agent on this node serves them to Prometheus."""

from collections.abc import Iterable, Mapping

from ray.util.metrics import Gauge

from search.prometheus import METRICS, Sample


class Exporter:
    """One gauge a metric; of the process that made it."""

    def __init__(self) -> None:
        self._gauges: Mapping[str, Gauge] = {each.name: Gauge(each.name, each.help, each.labels) for each in METRICS}

    def __call__(self, samples: Iterable[Sample]) -> None:
        """Set every value; a series that is not among them any more ends by itself."""
        for sample in samples:
            self._gauges[sample.metric].set(sample.value, sample.labels)
