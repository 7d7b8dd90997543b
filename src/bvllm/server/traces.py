"""Keep for a while what answers rest on: frames with times and scores, what was asked and used, pictures."""

import io
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image

from bvllm.asking.indexed import FetchedFrames
from bvllm.inference.evidence.contact_sheet import frame_heats, tile_size
from bvllm.inference.evidence.heatmap import paint
from bvllm.inference.results import doubt_line, notes_lines
from bvllm.server.engine import Answered
from bvllm.server.errors import ApiError
from bvllm.video import VideoError

MOST_TRACES = 256
KEPT_SECONDS = 1800.0
PICTURE_HEIGHT = 360
JPEG_QUALITY = 85

Sign = Callable[[str], str]


@dataclass(frozen=True)
class Trace:
    """What one answer rests on.

    Attributes:
        id: of the answer.
        answered: the answer.
        warnings: why it may be a guess, and what did not count.
        seconds: that the request took.
        queued: of these, before the work began.
        made: when, by `time.monotonic`.
    """

    id: str
    answered: Answered
    warnings: tuple[str, ...]
    seconds: float
    queued: float
    made: float

    def as_json(self, sign: Sign) -> dict[str, object]:
        """Plain numbers, strings and lists; `sign` makes a path fetchable without a key for a while."""
        answer, report = self.answered.answer, self.answered.encoded.report
        base = f"v1/traces/{self.id}/frames"
        timings = {step.replace(" ", "_"): round(spent, 4) for step, spent in answer.timings.items()}
        return {
            "id": self.id,
            "object": "trace",
            "frames": [
                {
                    "time": frame.seconds,
                    "score": frame.score,
                    "tokens": tokens,
                    "index": frame.index,
                    "url": sign(f"{base}/{k}.jpg"),
                }
                for k, (frame, tokens) in enumerate(zip(answer.frames, answer.tokens_per_frame, strict=True))
            ],
            "tokens_asked": answer.asked.tokens,
            "tokens_used": answer.tokens,
            "frames_asked": answer.asked.frames,
            "frames_total": answer.frames_total,
            "patches_per_frame": answer.patches_per_frame,
            "fps": answer.used.fps,
            "duration": max(report.seconds, float(self.answered.encoded.seconds[-1])),
            "seen_before": self.answered.cached,
            "letter": answer.letter,
            "likelihoods": list(answer.likelihoods),
            "free_text": answer.free_text,
            "pipeline": dict(answer.used.methods),
            "timings": {**timings, "queue": round(self.queued, 4), "total": round(self.seconds, 4)},
            "warnings": list(self.warnings),
        }


def warnings_of(answered: Answered, more: tuple[str, ...]) -> tuple[str, ...]:
    """Everything that speaks against taking an answer as it is, or did not count."""
    doubt = doubt_line(answered.answer)
    lines = [*([doubt] if doubt else []), *map(str, answered.encoded.report.warnings)]
    return (*lines, *notes_lines(answered.answer), *answered.notes, *more)


class TraceStore:
    """The traces of the last answers."""

    def __init__(self, most: int = MOST_TRACES, seconds: float = KEPT_SECONDS) -> None:
        self._most, self._seconds = most, seconds
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, trace: Trace) -> None:
        """Remember a trace; the oldest are forgotten."""
        with self._lock:
            self._traces[trace.id] = trace
            while len(self._traces) > self._most:
                self._traces.popitem(last=False)

    def get(self, id: str) -> Trace:
        """The trace of an id.

        Raises:
            ApiError: there is none, or it is too old.
        """
        with self._lock:
            found = self._traces.get(id)
        if found is None or time.monotonic() - found.made > self._seconds:
            raise ApiError(404, "trace_not_found", "trace must be of a recent answer, got another: ask again")
        return found


def frame_picture(trace: Trace, place: int, store: FetchedFrames | None, *, heat: bool) -> bytes:
    """A chosen frame as a JPEG.

    Args:
        place: in the answer's frames.
        store: fetches frames at full height; None takes the pixels that the model saw.
        heat: lay over it where its tokens come from.

    Raises:
        ApiError: there is no such frame, or its video is gone.
    """
    answer, encoded = trace.answered.answer, trace.answered.encoded
    if not 0 <= place < len(answer.frames):
        raise ApiError(
            404, "frame_not_found", f"frame must be one of {len(answer.frames)}, got another: see trace"
        )
    width, height = tile_size(encoded.info)
    width, height = round(width * PICTURE_HEIGHT / height), PICTURE_HEIGHT
    index = answer.frames[place].index
    try:
        if store is not None:
            pixels = replace(store, size=(height, width)).get([index])
        else:
            pixels = encoded.store.get([index])
    except (VideoError, OSError, ValueError):
        raise ApiError(
            404, "file_not_found", "video must still be there, got one that is gone: ask again"
        ) from None
    picture = Image.fromarray(pixels[0].permute(1, 2, 0).numpy()).resize((width, height))
    heats = frame_heats(answer) if heat else None
    if heats is not None:
        laid = Image.alpha_composite(picture.convert("RGBA"), paint(heats[place], picture.size))
        picture = laid.convert("RGB")
    made = io.BytesIO()
    picture.save(made, "JPEG", quality=JPEG_QUALITY)
    return made.getvalue()
