"""Answer questions as `bvllm ask` does, for all requests with one model, one index, one pool of sessions."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bvllm.asking.find import SearchResult, find_moments
from bvllm.asking.indexed import FetchedFrames, encode_or_index, fetched_frames
from bvllm.asking.query import text_encoder_of
from bvllm.common import cancelling
from bvllm.common.text import Question
from bvllm.index import IndexedVideo, IndexFolder, TowerEncoder, find_indexed
from bvllm.inference.answer import answer
from bvllm.inference.encode import EncodedVideo, Progress, encode_video
from bvllm.inference.hearing import Hear, Heard
from bvllm.inference.model import VideoModel
from bvllm.inference.results import Answer
from bvllm.methods.names import MethodNames
from bvllm.model.text_encoder import TextEncoder
from bvllm.server.library import FoundVideo
from bvllm.server.sessions import SessionPool, VideoKey
from bvllm.server.speaking import Speaker
from bvllm.types import Budget
from bvllm.video import Limits, SamplingPlan


@dataclass(frozen=True)
class Asked:
    """One question, checked.

    Attributes:
        question: with its options.
        fps, start, end: how the video is sampled.
        budget: what the answer may cost.
        methods: in the slots of the pipeline.
        max_new_tokens: length limit of the answer.
    """

    question: Question
    fps: float
    start: float
    end: float | None
    budget: Budget
    methods: MethodNames
    max_new_tokens: int


@dataclass(frozen=True)
class Answered:
    """An answer, with what it was about and what it cost in tokens of text.

    Attributes:
        asked: the question.
        answer: as from the command line.
        encoded: the video.
        videos: its file, or those of its pictures.
        heard: counts of the prompt's and the answer's tokens.
        cached: whether the video had been seen before, by this server.
        notes: what stood in the way of the index.
    """

    asked: Asked
    answer: Answer
    encoded: EncodedVideo
    videos: tuple[FoundVideo, ...]
    heard: Heard
    cached: bool
    notes: tuple[str, ...]


class Engine:
    """The model with all that it remembers.

    Args:
        loaded: the model.
        index: where features of videos are kept.
        limits: what one video may cost.
        name: by which the model was loaded.
        threads: that decode and encode one video; None takes one per core.
    """

    def __init__(
        self,
        loaded: VideoModel,
        index: IndexFolder,
        limits: Limits,
        *,
        name: str,
        threads: int | None = None,
    ) -> None:
        self.loaded, self.index, self._limits, self._threads = loaded, index, limits, threads
        self.name = Path(name).name if os.path.isdir(name) else name  # no client learns where it lies
        self.sessions = SessionPool()
        self.speaker = Speaker(loaded)
        self.encoder = TowerEncoder.of(loaded)
        self._words: TextEncoder | None = text_encoder_of(name)

    def ask(
        self,
        videos: tuple[FoundVideo, ...],
        asked: Asked,
        progress: Progress | None = None,
        hear: Hear | None = None,
    ) -> Answered:
        """Answer a question about a video, or about pictures as the frames of one.

        Args:
            progress: called with (step, done, all) during the first pass.
            hear: is told of the words as they are said.

        Raises:
            VideoError: the video cannot be read. ValueError: a setting does not fit the model or the video.
            Cancelled: the work was given up.
        """
        notes: list[str] = []
        self.loaded.methods(asked.methods)
        key = VideoKey(self._content(videos), asked.fps, asked.start, asked.end)
        paths = tuple(video.path for video in videos)
        seen, cached = self.sessions.get(
            key, paths, lambda: self._encode(videos, asked, _checking(progress), notes)
        )
        last = [Heard("", 0, 0, ended=False)]

        def listen(heard: Heard) -> None:
            cancelling.check()
            last[0] = heard
            if hear is not None:
                hear(heard)

        with seen.session(f"{asked.question.stem} {asked.budget}") as session:
            found = answer(
                seen.encoded,
                asked.question,
                self.loaded,
                budget=asked.budget,
                methods=asked.methods,
                max_new_tokens=asked.max_new_tokens,
                session=session,
                threads=self._threads,
                progress=_checking(None),
                speak=self.speaker.speak(listen),
            )
        return Answered(asked, found, seen.encoded, videos, last[0], cached, tuple(notes))

    def search(self, videos: list[FoundVideo], query: str, top: int) -> tuple[SearchResult, list[FoundVideo]]:
        """The moments of indexed videos that are most like a query, and the videos that they number.

        Raises:
            ValueError: the query means nothing to the model. ModelError: it cannot search.
        """
        entries: list[IndexedVideo] = []
        searched: list[FoundVideo] = []
        for video in videos:
            entry = self.indexed(video)
            if entry is not None:
                entries.append(entry)
                searched.append(video)
        return find_moments(entries, query, self.loaded, self._words, top=top), searched

    def indexed(
        self, video: FoundVideo, fps: float = 1.0, start: float = 0.0, end: float | None = None
    ) -> IndexedVideo | None:
        """The index entry of a video, if there is one; errors as for `find_indexed`."""
        return find_indexed(
            video.path,
            self.index,
            self.encoder,
            fps=fps,
            start=start,
            end=end,
            limits=self.limits_of(video),
        )

    def pictures(self, answered: Answered) -> FetchedFrames | None:
        """What fetches the frames of an answer at any size; None where the video is not in the index."""
        store, asked = answered.encoded.store, answered.asked
        if isinstance(store, FetchedFrames):
            return store
        if len(answered.videos) > 1:
            return None
        [video] = answered.videos
        entry = self.indexed(video, asked.fps, asked.start, asked.end)
        if entry is None:
            return None
        plan = SamplingPlan(fps=asked.fps, start=asked.start, end=asked.end)
        return fetched_frames(entry, video.path, self.loaded, plan, self.limits_of(video), 1)

    def limits_of(self, video: FoundVideo) -> Limits:
        """What the video may cost, and the folder that its file must lie in when it is opened."""
        return Limits(max_bytes=self._limits.max_bytes, max_seconds=self._limits.max_seconds, root=video.root)

    def _content(self, videos: tuple[FoundVideo, ...]) -> str:
        self.index.make()
        hashes = [self.index.content(video.path, self.limits_of(video)).sha256 for video in videos]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()

    def _encode(
        self, videos: tuple[FoundVideo, ...], asked: Asked, progress: Progress, notes: list[str]
    ) -> EncodedVideo:
        if len(videos) > 1:  # pictures, a second apart
            pictures: list[Path] = [video.path for video in videos]
            return encode_video(
                pictures, self.loaded, limits=self._limits, threads=self._threads, progress=progress
            )
        return encode_or_index(
            videos[0].path,
            self.loaded,
            self.index,
            lambda note: notes.append(str(note)),
            fps=asked.fps,
            start=asked.start,
            end=asked.end,
            limits=self.limits_of(videos[0]),
            threads=self._threads,
            progress=progress,
            encoder=self.encoder,
        )


def _checking(progress: Progress | None) -> Callable[[str, int, int | None], None]:
    """Progress that first asks whether anybody waits for it."""

    def report(step: str, done: int, total: int | None) -> None:
        cancelling.check()
        if progress is not None:
            progress(step, done, total)

    return report
