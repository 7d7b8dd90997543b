"""Answer by a rule, and take as long as is said: an engine for what the server does around a model."""

import hashlib
import threading
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bvllm.asking.find import SearchResult
from bvllm.common import cancelling
from bvllm.index import IndexFolder
from bvllm.inference.encode import EncodedVideo, Progress
from bvllm.inference.frame_cache import FrameCache
from bvllm.inference.hearing import Hear, Heard
from bvllm.inference.model import VisualTokens
from bvllm.inference.results import Answer, ChosenFrame, QuestionSettings
from bvllm.methods.names import MethodNames
from bvllm.server.engine import Answered, Asked
from bvllm.server.library import FoundVideo
from bvllm.types import Budget
from bvllm.video import Limits, VideoInfo, VideoReport
from bvllm.video.safe_open import open_source

SIZE = (32, 48)


@dataclass(frozen=True)
class StubModel:
    """What the routes ask of a model."""

    budget: Budget = Budget(tokens=256, frames=32)  # noqa: RUF009 - frozen

    def methods(self, methods: MethodNames) -> dict[str, str]:
        """Those that were named."""
        return methods.given


@dataclass
class StubSessions:
    """What the metrics ask of the sessions."""

    queries: int = 0
    hits: int = 0


@dataclass
class StubEngine:
    """Reads the file, waits, and says words that follow from the question.

    Attributes:
        folder: of an index that stays empty.
        seconds: that an answer takes; no processor is used meanwhile.
        error: raised in place of an answer.
        most_bytes: of a video.
        working: questions that are being answered now.
        asked: all questions so far.
    """

    folder: Path
    seconds: float = 0.0
    error: Exception | None = None
    most_bytes: int = 1 << 30
    working: int = 0
    asked: list[Asked] = field(default_factory=list)
    loaded: StubModel = field(default_factory=StubModel)
    sessions: StubSessions = field(default_factory=StubSessions)
    name: str = "stub"

    def __post_init__(self) -> None:
        self.index = IndexFolder(self.folder)

    def ask(
        self,
        videos: tuple[FoundVideo, ...],
        asked: Asked,
        progress: Progress | None = None,
        hear: Hear | None = None,
    ) -> Answered:
        """As `Engine.ask`."""
        self.working += 1
        try:
            self.asked.append(asked)
            for video in videos:
                open_source(video.path, self.limits_of(video)).close()
            self._wait(progress)
            if self.error is not None:
                raise self.error
            words = stub_answer(asked.question.stem).split(" ")
            for number, word in enumerate(words):
                last = Heard(
                    word if not number else " " + word, 20, number + 1, ended=number + 1 == len(words)
                )
                if hear is not None:
                    hear(last)
            return Answered(asked, _answer(asked), _encoded(), videos, last, False, ())
        finally:
            self.working -= 1

    def search(self, videos: list[FoundVideo], query: str, top: int) -> tuple[SearchResult, list[FoundVideo]]:
        """Nothing is found."""
        return SearchResult((), "words", (), 0), []

    def pictures(self, answered: Answered) -> None:
        """What the stub saw is all there is."""

    def limits_of(self, video: FoundVideo) -> Limits:
        """As `Engine.limits_of`."""
        return Limits(max_bytes=self.most_bytes, root=video.root)

    def _wait(self, progress: Progress | None) -> None:
        if not self.seconds:
            return
        if progress is not None:
            progress("decode and encode", 1, 2)
        given_up = threading.Event()
        with cancelling.when_cancelled(given_up.set):
            given_up.wait(self.seconds)


def stub_answer(question: str) -> str:
    """What the stub says: three words that another question does not get."""
    digest = hashlib.sha256(question.encode()).hexdigest()
    return f"{digest[:4]} {digest[4:8]} {digest[8:12]}"


def _answer(asked: Asked) -> Answer:
    text = stub_answer(asked.question.stem)
    settings = QuestionSettings(asked.fps, asked.budget.tokens, asked.budget.frames, "learned", 48)
    return Answer(
        question=asked.question.stem,
        options=(),
        text=text,
        free_text=text,
        letter=None,
        likelihoods=(),
        doubts=(),
        question_left_out=0,
        subtitles=0,
        subtitles_left_out=0,
        frames=(ChosenFrame(0, 0.0, 0.75), ChosenFrame(1, 1.0, 0.25)),
        tokens=16,
        patches_per_frame=4,
        frames_total=2,
        timings={"answer": 0.001},
        asked=settings,
        used=settings,
        visual=VisualTokens(),
    )


def _encoded() -> EncodedVideo:
    store = FrameCache(SIZE)
    store.append(torch.zeros(2, 3, *SIZE, dtype=torch.uint8))
    return EncodedVideo(
        torch.zeros(2, 4),
        torch.tensor([0.0, 1.0], dtype=torch.float64),
        store,
        1.0,
        1.0,
        VideoInfo.of_pictures("stub", SIZE),
        VideoReport(seconds=2.0),
        {},
    )
