"""Count what the server does, for Prometheus; where vLLM counts the same thing, under vLLM's name."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from bvllm.server.engine import Engine
from bvllm.server.store import VideoStore
from bvllm.server.traces import Trace
from bvllm.server.work import WorkQueue

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


class Metrics:
    """The counters of one server, in a registry of its own.

    Args:
        engine, queue, store: asked for their state whenever the metrics are read.
    """

    def __init__(self, engine: Engine, queue: WorkQueue, store: VideoStore) -> None:
        self._registry = CollectorRegistry()
        self._label = {"model_name": engine.name}
        self._gauge("vllm:num_requests_running", "Questions that are worked on", lambda: queue.running)
        self._gauge("vllm:num_requests_waiting", "Questions that wait", lambda: queue.waiting)
        self._gauge("bvllm:stored_bytes", "Of videos on disk", lambda: store.bytes)
        sessions = engine.sessions
        self._gauge("bvllm:session_queries", "Videos looked for", lambda: sessions.queries)
        self._gauge("bvllm:session_hits", "Videos that had been seen before", lambda: sessions.hits)
        self._prompt = self._counter("vllm:prompt_tokens", "Tokens read, visual ones included")
        self._generated = self._counter("vllm:generation_tokens", "Tokens said")
        self._success = self._counter("vllm:request_success", "Questions that ended", "finished_reason")
        self._rejected = self._counter("vllm:admission_rejections", "Requests refused", "reason")
        self._visual = self._counter("bvllm:visual_tokens", "Visual tokens given to the language model")
        self._frames = self._counter("bvllm:frames", "Frames", "what")
        self._errors = self._counter("bvllm:errors", "Answers with an error", "code")
        self._whole = self._seconds("vllm:e2e_request_latency_seconds", "From request to answer")
        self._queued = self._seconds("vllm:request_queue_time_seconds", "Waiting for a thread")
        self._decode = self._seconds("bvllm:first_pass_seconds", "Decoding and encoding a video")
        self._answer = self._seconds("vllm:request_decode_time_seconds", "Reading the prompt and answering")
        self._sizes = Histogram(
            "vllm:request_prompt_tokens",
            "Tokens of a prompt",
            self._names(),
            buckets=TOKENS,
            registry=self._registry,
        ).labels(**self._label)

    def answered(self, trace: Trace) -> None:
        """A question was answered."""
        found, heard = trace.answered.answer, trace.answered.heard
        self._prompt.labels(**self._label).inc(heard.prompt_tokens)
        self._generated.labels(**self._label).inc(heard.tokens)
        reason = "stop" if heard.ended else "length"
        self._success.labels(**self._label, finished_reason=reason).inc()
        self._visual.labels(**self._label).inc(found.tokens)
        self._frames.labels(**self._label, what="chosen").inc(len(found.frames))
        self._sizes.observe(heard.prompt_tokens)
        self._whole.labels(**self._label).observe(trace.seconds)
        self._queued.labels(**self._label).observe(trace.queued)
        self._answer.labels(**self._label).observe(found.timings.get("answer", 0.0))
        if not trace.answered.cached:
            self._frames.labels(**self._label, what="encoded").inc(found.frames_total)
            spent = [found.timings[step] for step in ("decode and encode",) if step in found.timings]
            self._decode.labels(**self._label).observe(sum(spent))

    def refused(self, code: str, status: int) -> None:
        """A request was answered with an error."""
        self._errors.labels(**self._label, code=code).inc()
        if status == 503:
            self._rejected.labels(**self._label, reason=code).inc()

    def aborted(self) -> None:
        """A client left before its answer."""
        self._success.labels(**self._label, finished_reason="abort").inc()

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return bytes(generate_latest(self._registry))

    def _names(self, *more: str) -> tuple[str, ...]:
        return (*self._label, *more)

    def _gauge(self, name: str, what: str, read: Callable[[], float]) -> None:
        gauge = Gauge(name, what, self._names(), registry=self._registry)
        gauge.labels(**self._label).set_function(read)

    def _counter(self, name: str, what: str, *more: str) -> Counter:
        return Counter(name, what, self._names(*more), registry=self._registry)

    def _seconds(self, name: str, what: str) -> Histogram:
        return Histogram(name, what, self._names(), buckets=SECONDS, registry=self._registry)
