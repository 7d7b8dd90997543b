"""Keep what was seen of videos between requests, so that a second question costs a fraction of the first."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bvllm.common import cancelling
from bvllm.inference.encode import EncodedVideo
from bvllm.inference.session import PromptCache, Session

MOST_VIDEOS = 32
MOST_PROMPTS = 4  # of one video, kept for the same question again
PATCH_BYTES = 64 << 20
WAIT_SECONDS = 0.05


@dataclass(frozen=True)
class VideoKey:
    """What was seen: these bytes, at this rate, in this part.

    Attributes:
        content: hash of the file, or of all pictures.
        fps, start, end: how it was sampled.
    """

    content: str
    fps: float
    start: float
    end: float | None


@dataclass
class SeenVideo:
    """A video after its first pass, with what questions left behind.

    Attributes:
        paths: of its files; frames are fetched from them again.
        encoded: the first pass.
        first: the session whose patches all questions share.
        prompts: language-model states of earlier questions, by question.
    """

    paths: tuple[Path, ...]
    encoded: EncodedVideo
    first: Session
    prompts: "OrderedDict[str, PromptCache]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def session(self, question: str) -> Iterator[Session]:
        """A session of one's own for a question; questions about one video may be asked at once."""
        with self._lock:
            prompt = self.prompts.pop(question, None)
        session = self.first.beside(prompt)
        try:
            yield session
        finally:
            with self._lock:
                self.prompts[question] = session.prompt
                while len(self.prompts) > MOST_PROMPTS:
                    self.prompts.popitem(last=False)


class SessionPool:
    """The videos that were asked about last; the least recently used are forgotten."""

    def __init__(self, most: int = MOST_VIDEOS) -> None:
        self._most = most
        self._videos: OrderedDict[VideoKey, SeenVideo] = OrderedDict()
        self._busy: set[VideoKey] = set()
        self._changed = threading.Condition()
        self.hits = self.queries = 0

    def get(
        self, key: VideoKey, paths: tuple[Path, ...], encode: Callable[[], EncodedVideo]
    ) -> tuple[SeenVideo, bool]:
        """The video, encoded now if it was not yet, and whether it had been; of several, one encodes.

        Raises:
            Cancelled: the one that waits was given up; and whatever `encode` raises.
        """
        with self._changed:
            self.queries += 1
            while key in self._busy:
                cancelling.check()
                self._changed.wait(WAIT_SECONDS)
            seen = self._videos.get(key)
            if seen is not None and all(map(os.path.exists, seen.paths)):
                self._videos.move_to_end(key)
                self.hits += 1
                return seen, True
            self._busy.add(key)
        try:
            encoded = encode()
            first = Session(PATCH_BYTES)
            first.begin(encoded)
            seen = SeenVideo(paths, encoded, first)
            with self._changed:
                self._videos[key] = seen
                while len(self._videos) > self._most:
                    self._videos.popitem(last=False)
            return seen, False
        finally:
            with self._changed:
                self._busy.discard(key)
                self._changed.notify_all()
