"""`/metrics` for Prometheus: vLLM's names after our prefix, and those of drawing.

Every application has a registry of its own.
"""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from janusflow.inference.batching.counts import BatchInfo
from janusflow.inference.batching.scheduler import StepScheduler

PREFIX = "janusflow:"
LATENCIES = (0.1, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
FIRSTS = (0.01, 0.03, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)
STEPS = (0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
COUNTED = {
    "prompt_tokens": ("prompt_tokens_read", "Read of conversations and prompts."),
    "prompt_tokens_reused": ("prompt_tokens_reused", "Not read, since they were before."),
    "generation_tokens": ("tokens_written", "Of answers and plans."),
    "images": ("finished_images", "Drawn, candidates included."),
    "denoise_steps": ("steps", "Steps with images in them."),
    "images_encoded": ("images_encoded", "Seen by the understanding tower."),
    "images_reused": ("images_reused", "Not seen again, since they were before."),
    "reuse_hits": ("reuse_hits", "Found in what is kept."),
    "reuse_misses": ("reuse_misses", "Not found in what is kept."),
}
"""Counters (_total is put after their names): what the scheduler calls it, and what it is."""
MEASURED = {
    ("num_requests_running", "images"): ("running_images", "Under way."),
    ("num_requests_running", "chat"): ("running_questions", "Under way."),
    ("num_requests_waiting", "images"): ("waiting_images", "Asked for, and not begun."),
    ("num_requests_waiting", "chat"): ("waiting_questions", "Asked for, and not begun."),
    ("reuse_bytes", ""): ("reuse_bytes", "Of what is kept."),
    ("reuse_entries", ""): ("reuse_entries", "Of what is kept."),
}
"""Gauges by name and kind, likewise; images and answers are counted, not HTTP requests."""


class SchedulerCollector(Collector):
    """What a scheduler counts, read whenever Prometheus asks."""

    def __init__(self, scheduler: StepScheduler, model_name: str) -> None:
        self._scheduler = scheduler
        self._model = model_name

    def collect(self) -> Iterator[Metric]:
        """All counters and gauges."""
        counts = self._scheduler.counts
        for name, (field, told) in COUNTED.items():
            counter = CounterMetricFamily(f"{PREFIX}{name}", told, labels=["model_name"])
            counter.add_metric([self._model], getattr(counts, field))
            yield counter
        gauges: dict[str, GaugeMetricFamily] = {}
        for (name, kind), (field, told) in MEASURED.items():
            labels = {"model_name": self._model} | ({"kind": kind} if kind else {})
            full = f"{PREFIX}{name}"
            gauge = gauges.setdefault(name, GaugeMetricFamily(full, told, labels=[*labels]))
            gauge.add_metric([*labels.values()], getattr(counts, field))
        yield from gauges.values()


class Metrics:
    """What is observed of requests and steps, and what the scheduler counts.

    Args:
        scheduler: is asked for its counts, and tells of its steps.
        model_name: label of everything.
    """

    def __init__(self, scheduler: StepScheduler, model_name: str) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(SchedulerCollector(scheduler, model_name))
        ProcessCollector(registry=self.registry)
        scheduler.on_batch = self.stepped
        self._model = model_name
        self._success = self._counter(
            "request_success", "Answers and images done.", "finished_reason"
        )
        self._latency = self._histogram("e2e_request_latency_seconds", "Of requests.", LATENCIES)
        self._first_token = self._histogram(
            "time_to_first_token_seconds", "Until an answer begins.", FIRSTS
        )
        self._token = self._histogram(
            "time_per_output_token_seconds", "After an answer's first, the mean.", STEPS
        )
        self._first_partial = self._histogram(
            "time_to_first_partial_image_seconds", "Until a stream shows an image.", FIRSTS
        )
        self._step = self._histogram("denoise_step_seconds", "Of steps with images.", STEPS)
        self._batch = self._histogram("step_batch_size", "Images, or answers, in a step.", SIZES)

    def finished(self, kind: str, seconds: float, reasons: Iterable[str]) -> None:
        """A request was answered.

        Args:
            kind: chat or images.
            seconds: since it came.
            reasons: of every choice why it ended.
        """
        self._latency.labels(self._model, kind).observe(seconds)
        for reason in reasons:
            self._success.labels(self._model, kind, reason).inc()

    def answered(self, first: float, last: float, num_tokens: int) -> None:
        """An answer's text began and ended so many seconds after it was asked for."""
        self._first_token.labels(self._model, "chat").observe(first)
        if num_tokens > 1:
            self._token.labels(self._model, "chat").observe((last - first) / (num_tokens - 1))

    def showed(self, seconds: float) -> None:
        """A stream's first partial image was there after so many seconds."""
        self._first_partial.labels(self._model, "images").observe(seconds)

    def stepped(self, info: BatchInfo) -> None:
        """The scheduler has made a step."""
        if info.images:
            self._step.labels(self._model, "images").observe(info.seconds)
            self._batch.labels(self._model, "images").observe(info.images)
        if info.answers:
            self._batch.labels(self._model, "chat").observe(info.answers)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        names = ("model_name", "kind", *labels)
        return Counter(f"{PREFIX}{name}", told, names, registry=self.registry)

    def _histogram(self, name: str, told: str, buckets: Sequence[float]) -> Histogram:
        names = ("model_name", "kind")
        return Histogram(f"{PREFIX}{name}", told, names, registry=self.registry, buckets=buckets)
