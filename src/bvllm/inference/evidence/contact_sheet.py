"""Gather what every form of evidence shows: tiles, times and the course of the selection."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from bvllm.common.text import LETTERS, format_clock
from bvllm.inference.encode import EncodedVideo
from bvllm.inference.evidence.heatmap import heat_maps
from bvllm.inference.model import VisualTokens
from bvllm.inference.results import (
    Answer,
    answer_line,
    cost_line,
    doubt_line,
    name_of,
    notes_lines,
    own_words,
)
from bvllm.primitives.pooling import grid_shape
from bvllm.video import VideoInfo

TILE_HEIGHT = 180
RELEVANCE = (
    "relevance: how well the scorer finds the frame to fit the question, beside the best frame of the video. "
    "It does not say whether the answer is right."
)
# Why a frame is there, where nothing that reads the question chose it.
REASONS = {"uniform": "evenly spaced", "random": "drawn at random", "none": "every frame is kept"}
NARROWEST, WIDEST = 0.4, 2.6  # a tile's width over its height, whatever the video's shape
VOTES = (
    "votes: how many of the selector's queries picked the frame; weight: the share that the surest of them "
    "gave it. Neither says whether the answer is right."
)
LOOKED, MADE_OF = (
    "where in each picture the model looked",
    "how much of each part of a picture is in its tokens",
)
CURVE_POINTS = 240  # the selection over time is drawn with at most this many points


@dataclass(frozen=True)
class Tile:
    """One chosen frame.

    Attributes:
        picture: what the model saw, in the video's own proportions.
        heat: (rows, columns) in 0..1, how much attention each patch got; None where no token was sampled by
            attention.
        index, seconds: place in the sampled sequence, and time.
        reason: why it is here, in a few words.
    """

    picture: Image.Image
    heat: np.ndarray | None
    index: int
    seconds: float
    reason: str

    @property
    def clock(self) -> str:
        return format_clock(self.seconds)


@dataclass(frozen=True)
class ContactSheet:
    """Everything that is shown about one answer.

    Attributes:
        question, options, answer, letter: what was asked and answered; options carry their letters.
        cost: the line that says what it cost.
        notes: what was odd about the video, or did not count in the question.
        tiles: the chosen frames, oldest first.
        duration: seconds that the timeline spans; None where the frames are of several videos.
        curve: how strongly any query wanted each stretch of the video, in 0..1; empty without a selector.
        doubt: why the answer is a guess, in one line; empty where nothing speaks against it.
        own_words: what the model said when it was not held to the options; empty without options.
        explained: what the words under the frames mean; empty where they need no explanation.
        colours: what the heat maps show.
    """

    question: str
    options: tuple[tuple[str, str], ...]
    answer: str
    letter: str | None
    cost: str
    notes: tuple[str, ...]
    tiles: tuple[Tile, ...]
    duration: float | None
    curve: tuple[float, ...]
    doubt: str = ""
    own_words: str = ""
    explained: str = ""
    colours: str = LOOKED


def contact_sheet(encoded: EncodedVideo | Sequence[EncodedVideo], answer: Answer) -> ContactSheet:
    """Gather what is to be shown about an answer.

    Args:
        encoded: its video, or its clips, in their order.
        answer: of any kind.
    """
    learned = answer.used.select == "learned"
    clips = [encoded] if isinstance(encoded, EncodedVideo) else list(encoded)
    tiles = [tile for number, clip in enumerate(clips) for tile in _tiles(clip, answer, number)]
    alone = clips[0] if len(clips) == 1 else None
    return ContactSheet(
        question=answer.question,
        options=tuple(zip(LETTERS, answer.options, strict=False)),
        answer=answer_line(answer),
        letter=answer.letter,
        cost=cost_line(answer),
        notes=(*(str(w) for clip in clips for w in clip.report.warnings), *notes_lines(answer)),
        tiles=tuple(tiles),
        duration=None if alone is None else max(alone.report.seconds, float(alone.seconds[-1]), 1e-3),
        curve=_curve(answer) if learned else (),
        doubt=doubt_line(answer),
        own_words=own_words(answer),
        explained=VOTES if learned else RELEVANCE if answer.used.select == "relevant" else "",
        colours=LOOKED if _sampled(answer.visual) else MADE_OF,
    )


def _tiles(encoded: EncodedVideo, answer: Answer, clip: int) -> tuple[Tile, ...]:
    size, frames = tile_size(encoded.info), [frame for frame in answer.frames if frame.clip == clip]
    pixels = encoded.store.get([frame.index for frame in frames]).permute(0, 2, 3, 1).numpy()
    heats = frame_heats(answer, clip)
    selection = answer.visual.selections[clip]
    whose = f"{name_of(clip, answer.clips[clip])}, " if answer.clips else ""
    agree = selection.size.round().long().tolist()
    voters = min(len(selection.logits), answer.used.frames) if answer.used.select == "learned" else 0
    learned = answer.used.select == "learned"
    return tuple(
        Tile(
            Image.fromarray(pixels[k]).resize(size, Image.Resampling.LANCZOS),
            None if heats is None else heats[k],
            frame.index,
            frame.seconds,
            votes_line(agree[k], voters, frame.score)
            if learned
            else whose + _reason(answer.used.select, frame.score),
        )
        for k, frame in enumerate(frames)
    )


def _reason(select: str, score: float) -> str:
    """Why a frame is here that no trained selector chose."""
    return f"relevance {score:.2f}" if select == "relevant" else REASONS.get(select, select)


def _sampled(visual: VisualTokens) -> bool:
    """Whether a trained sampler's attention says where tokens come from."""
    return bool(visual.attention) and visual.attention is not None and visual.attention[0] is not None


def frame_heats(answer: Answer, clip: int = 0) -> np.ndarray | None:
    """(F, rows, columns) in 0..1, where the tokens of each chosen frame of a clip come from.

    By a sampler's attention, else by their origin; None where neither is known.
    """
    visual = answer.visual
    if visual.attention and _sampled(visual):
        weights = visual.attention[0]
    elif visual.tokens and visual.tokens[clip].steps:
        frames = len(visual.selections[clip])
        weights = visual.tokens[clip].origin.share_of_inputs().view(frames, 1, -1)
    else:
        return None
    grid = visual.grids[clip] if visual.grids else visual.grid
    return heat_maps(weights, grid or grid_shape(weights.shape[-1]))


def votes_line(votes: int, voters: int, weight: float) -> str:
    """How strongly the selector wanted a frame; `VOTES` explains it.

    Example:
        >>> votes_line(29, 32, 0.94)
        '29 of 32 votes, weight 0.94'
    """
    return f"{votes} of {voters} votes, weight {weight:.2f}"


def tile_size(info: VideoInfo) -> tuple[int, int]:
    """(width, height) of the tiles of a video."""
    shape = min(max(info.width / info.height, NARROWEST), WIDEST)
    return max(1, round(TILE_HEIGHT * shape)), TILE_HEIGHT


def _curve(answer: Answer) -> tuple[float, ...]:
    """The highest probability that any query gives to a frame of each stretch of the video."""
    [selection] = answer.visual.selections or []
    logits = selection.logits[: answer.used.frames]  # the queries that could choose
    wanted = logits.detach().float().softmax(dim=-1).amax(dim=0)
    points = min(CURVE_POINTS, len(wanted))
    strongest = torch.nn.functional.adaptive_max_pool1d(wanted[None], points)[0]
    return tuple(round(float(x), 4) for x in strongest)
