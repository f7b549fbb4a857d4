"""What Prometheus is told."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8)
_PATHS = ("/predict", "/health", "/metrics", "/review", "/docs", "/openapi.json")


class Metrics:
    """The figures of one server.

    Args:
        under_way: How many requests for a prediction there are.
        model: Name and version of the model that answers.
    """

    def __init__(self, under_way: Callable[[], int], model: Callable[[], tuple[str, str]]) -> None:
        self._registry, self._model = CollectorRegistry(), model
        registry = self._registry
        self._requests = Counter("harmoniad_requests", "Requests answered.", ["path", "status"], registry=registry)
        self._seconds = Histogram(
            "harmoniad_predict_seconds", "Seconds to answer /predict with 200.", buckets=SECONDS, registry=registry
        )
        self.batch_size = Histogram(
            "harmoniad_batch_size", "Images in a batch.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry
        )
        self.verdicts = Counter("harmoniad_verdicts", "Images judged.", ["verdict"], registry=registry)
        self.not_kept = Counter("harmoniad_review_not_kept", "Images not kept for review.", registry=registry)
        self.reloads = Counter("harmoniad_model_reloads", "Models taken or not.", ["outcome"], registry=registry)
        queue = Gauge("harmoniad_queue_length", "Requests for a prediction under way.", registry=registry)
        queue.set_function(under_way)
        self._version = Gauge("harmoniad_model_info", "The model at work.", ["name", "version"], registry=registry)

    def observe(self, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        known = next((name for name in _PATHS if path == name or path.startswith(f"{name}/")), "other")
        self._requests.labels(known, str(status)).inc()
        if known == "/predict" and status == 200:
            self._seconds.observe(seconds)

    def text(self) -> bytes:
        """All figures in Prometheus' format."""
        self._version.clear()
        self._version.labels(*self._model()).set(1)
        return generate_latest(self._registry)
