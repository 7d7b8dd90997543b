"""Hold what all requests share: one model with one index, one store of videos, one queue."""

from dataclasses import dataclass

from bvllm.server.engine import Engine
from bvllm.server.fetch import Fetcher, FetchLimits
from bvllm.server.find_media import MediaFinder
from bvllm.server.library import Library
from bvllm.server.logs import ServerLog
from bvllm.server.metrics import Metrics
from bvllm.server.settings import MEGABYTE, ServerSettings
from bvllm.server.signing import Signer
from bvllm.server.store import VideoStore
from bvllm.server.traces import TraceStore
from bvllm.server.work import WorkQueue


@dataclass(frozen=True)
class ServerState:
    """The parts of a running server, each with its own file."""

    settings: ServerSettings
    engine: Engine
    library: Library
    media: MediaFinder
    queue: WorkQueue
    traces: TraceStore
    signer: Signer
    metrics: Metrics
    log: ServerLog

    @classmethod
    def of(cls, settings: ServerSettings, engine: Engine, fetcher: Fetcher | None = None) -> "ServerState":
        """Everything around an engine.

        Args:
            fetcher: in place of the one that the settings ask for.
        """
        ceilings = settings.ceilings
        most = ceilings.video_mb * MEGABYTE
        store = VideoStore(settings.upload_dir, ceilings.store_mb * MEGABYTE, ceilings.files)
        if fetcher is None and settings.allow_hosts:
            fetcher = Fetcher(settings.allow_hosts, FetchLimits(most, ceilings.fetch_seconds))
        library = Library(store, settings.allow_paths, engine.index)
        queue = WorkQueue(ceilings.running, ceilings.waiting, ceilings.request_seconds)
        return cls(
            settings,
            engine,
            library,
            MediaFinder(library, fetcher, most),
            queue,
            TraceStore(),
            Signer(),
            Metrics(engine, queue, store),
            ServerLog(with_text=settings.log_text),
        )

    def close(self) -> None:
        """End the threads, remove the videos."""
        self.queue.close()
        self.library.store.close()
