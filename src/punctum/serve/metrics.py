"""What a server counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

from punctum.serve.admission import Admission

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counts of one application; its own registry, so that two of them in one process do not mix.

    Args:
        admission: asked for what is inside when somebody looks.
    """

    def __init__(self, admission: Admission) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter("punctum_requests", "Requests answered.", ["path", "status"], registry=self.registry)
        self._seconds = Histogram(
            "punctum_request_seconds",
            "From a request to its answer.",
            ["path"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._pictures = Counter("punctum_pictures", "Pictures predicted.", registry=self.registry)
        self._queue = Gauge("punctum_queue_instances", "Instances that wait for the network.", registry=self.registry)
        self._batch = Histogram(
            "punctum_batch_instances", "Instances in a batch.", buckets=_BATCHES, registry=self.registry
        )
        self._engine = Histogram(
            "punctum_engine_seconds", "Of the network, by batch.", buckets=_SECONDS, registry=self.registry
        )
        inside = Gauge("punctum_requests_inside", "Requests being read, decoded or waiting.", registry=self.registry)
        inside.set_function(lambda: admission.inside)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """A request has its answer; `path` is one of a few."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def predicted(self, pictures: int) -> None:
        """So many pictures more."""
        self._pictures.inc(pictures)

    def queued(self, count: int) -> None:
        """So many instances wait."""
        self._queue.set(count)

    def ran(self, count: int, seconds: float) -> None:
        """A batch went through the network."""
        self._batch.observe(count)
        self._engine.observe(seconds)

    def text(self) -> bytes:
        """All of it in Prometheus's text form."""
        return generate_latest(self.registry)
