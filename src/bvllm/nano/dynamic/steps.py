"""Run one training step of dynamic-nano on cached patches: compress, write the prompt, answer."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from bvllm.model.dynamic import DynamicVLMForConditionalGeneration
from bvllm.model.dynamic.times import write_frames
from bvllm.nano.busy_examples import BusyExample
from bvllm.nano.captions import BUSY_SHARE, IGNORE, all_videos
from bvllm.nano.drills import Lookup, video_lookups
from bvllm.nano.examples import LIST_STEMS, MULTIPLE_CHOICE, QUESTIONS_PER_VIDEO, put_words
from bvllm.nano.feature_cache import AnyExample, FeatureCache
from bvllm.nano.language import answer_loss
from bvllm.nano.packed import run_packed
from bvllm.nano.turns import Turn, ids_of, write_turn
from bvllm.stages.frame_grids import Grid, frames_that_fit
from bvllm.stages.pipeline import thin_evenly
from bvllm.synthetic.busy.spatial import SPATIAL
from bvllm.synthetic.busy.timeline import plan_picture
from bvllm.synthetic.tokenizer import ASSISTANT, END, USER, VIDEO
from bvllm.synthetic.vocabulary import Split

WAITING = 256  # clips that are drawn ahead and sorted by length of the video
# Of a time, of question and answer, of a lookup, of a frame at the tower's own grid: about.
STAMP_TOKENS, TEXT_TOKENS, LOOKUP_TOKENS, FINE_TOKENS = 4, 60, 5, 64
DRILLED_FROM = 16  # tokens of a frame: what stands where is not seen in fewer
FEWEST, MOST_CLIPS = 2, 32  # of half a step
FEWEST_PICTURES, MOST_PICTURES = 2, 6  # of a set
TURNS = 8  # questions of a busy video, read once, at most
FINE_FRAMES = 12  # of a clip whose other frames are coarse
LEAST = 16  # tokens of a clip whose budget is drawn


@dataclass(frozen=True)
class DynamicClip:
    """An example, and which rows of the cache make up its video.

    Attributes:
        example: what is asked.
        rows: (T,).
        further: more questions about the same video, asked in further turns: the video is read once.
        lookups: said after them in a last turn (`nano.drills`).
        seconds: (T,) when each frame is shown; None for one a second from 0.
        pictures: the frames are pictures of their own, without a second before any.
        fine: frames that keep the tower's own grid, while every other has a token; empty treats all alike.
        most: visual tokens; None for as many as the stage lets a clip have.
    """

    example: AnyExample
    rows: Tensor
    further: tuple[AnyExample, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    seconds: Tensor | None = None
    pictures: bool = False
    fine: frozenset[int] = frozenset()
    most: int | None = None

    @property
    def text_tokens(self) -> int:
        """About so many, frames apart."""
        questions = TEXT_TOKENS * (1 + len(self.further))
        return len(self.rows) * STAMP_TOKENS + questions + LOOKUP_TOKENS * len(self.lookups)

    def budget(self, each: int, most: int) -> int:
        """Visual tokens, where a frame has so many and any clip at most `most`."""
        return min(most, self.most or most, len(self.rows) * each)

    def visual_tokens(self, each: int, most: int) -> int:
        """About so many are read: the budget, or what fine and coarse frames have."""
        frames, fine = len(self.rows), len(self.fine)
        return fine * FINE_TOKENS + frames - fine if fine else self.budget(each, most)


class SideDraw(NamedTuple):
    """Draws how many tokens each frame of a step may have, anew for every step.

    Attributes:
        by_side: draw the side of a square first, so that the native grid is met as often as any; else the
            count of tokens, evenly.
        fixed: a count for every step; None draws.
        native: share of the steps that take the native grid before anything is drawn.

    Source: the paper draws M evenly in [16, min(N_max / T, N)] (Dynamic-VLM, arXiv 2412.09530; from the
        note); by side is ours.
    """

    by_side: bool = True
    fixed: int | None = None
    native: float = 0.0

    def tokens(self, rng: np.random.Generator, native: Grid) -> int:
        """Tokens that a frame may have: between the squares of two neighbouring sides."""
        if self.fixed is not None:
            return self.fixed
        if rng.random() < self.native:
            return native.cells
        if not self.by_side:
            return int(rng.integers(1, native.cells + 1))
        side = int(rng.integers(1, min(native) + 1))
        if side == min(native):
            return native.cells
        return int(rng.integers(side * side, (side + 1) ** 2))


@dataclass(frozen=True)
class DynamicBatch:
    """Clips side by side, padded on the right.

    Shapes: ids, labels, mask (B, S); patches (F, N, C) of all frames; grids F; seconds (F,); no_answer (B, S)
        True where a reply names its option's letter, and in a drill.
    """

    ids: Tensor
    labels: Tensor
    mask: Tensor
    no_answer: Tensor
    patches: Tensor
    grids: list[Grid]
    seconds: Tensor


def dynamic_clips(
    bank: FeatureCache,
    split: Split,
    seconds: tuple[float, float],
    seed: int,
    busy: float = BUSY_SHARE,
    *,
    turns: bool = False,
    drilled: float = 0.0,
    pictures: float = 0.0,
    uneven: float = 0.0,
    plain_most: int | None = None,
) -> Iterator[DynamicClip]:
    """Endless clips of both worlds.

    Args:
        turns: all questions of a video in one clip, as the paper's rows have several rounds; else one each.
        drilled: share of the busy clips with turns that end in lookups.
        pictures: share of the clips that are several pictures in place of a video.
        uneven: share of the busy clips with turns of which a few frames are fine, see `some_fine`.
        plain_most: a clip with turns of the plain world has a budget of its own, drawn log-uniformly up to
            so many tokens; None lets it have as many as any other.
    """
    rng = np.random.default_rng((seed, 67))
    sets = picture_sets(bank, seed) if pictures else iter(())
    videos = all_videos(
        bank.busy,
        seconds,
        seed,
        split=split,
        busy=busy,
        questions=TURNS if turns else QUESTIONS_PER_VIDEO,
    )
    while True:
        if pictures and rng.random() < pictures:
            yield next(sets)
            continue
        of_video = next(videos)
        if not bank.can_show(of_video[0]):
            continue
        if turns:
            first, *more = (of_video[k] for k in rng.permutation(len(of_video)).tolist())
            lookups, own = list[Lookup](), None
            if isinstance(first, BusyExample):
                drill = rng.random() < drilled
                if rng.random() < uneven and (clip := some_fine(bank, of_video, rng, drill=drill)):
                    yield clip
                    continue
                lookups = video_lookups(first.timeline, rng) if drill else []
            elif plain_most is not None:
                own = round(math.exp(rng.uniform(math.log(LEAST), math.log(plain_most))))
            yield DynamicClip(first, bank.clip_rows(first, rng), tuple(more), tuple(lookups), most=own)
            continue
        for example in of_video:
            yield DynamicClip(example, bank.clip_rows(example, rng))


def some_fine(
    bank: FeatureCache, of_video: list[AnyExample], rng: np.random.Generator, *, drill: bool
) -> DynamicClip | None:
    """A busy video of which the first and last frames of a few scenes are fine, and all else is coarse.

    A minute at a grid that shows what stands where is 2 000 tokens and more, nearly all of which no question
    needs; so it is less than half, and the way from a time to a scene is as long. One question's scenes are
    fine, and others beside them, drawn at random; questions about scenes that are not are left out.

    Returns:
        None where no question is about a scene, or one's scenes alone are more than `FINE_FRAMES` allow.
    """
    asked = [e for e in of_video if isinstance(e, BusyExample) and e.question.needles]
    if not asked:
        return None
    first = asked[int(rng.integers(len(asked)))]
    timeline, fine, scenes = first.timeline, set[int](), set[int]()
    order = [*first.question.needles, *rng.permutation(len(timeline.shown)).tolist()]
    for place, number in enumerate(order):
        shown = timeline.shown[number]
        ends = {int(shown.start), max(int(shown.start), min(int(shown.end), first.frames) - 1)}
        if len(fine | ends) > FINE_FRAMES:
            if place < len(first.question.needles):
                return None
            break
        fine |= ends
        scenes.add(number)
    more = [e for e in asked if e is not first and set(e.question.needles) <= scenes]
    lookups = video_lookups(timeline, rng, scenes) if drill else []
    return DynamicClip(first, bank.clip_rows(first, rng), tuple(more), tuple(lookups), fine=frozenset(fine))


def picture_sets(bank: FeatureCache, seed: int) -> Iterator[DynamicClip]:
    """Endless clips of a few pictures of busy scenes, each with a question about one, named by its sign.

    Raises:
        ValueError: there are no busy scenes, or their signs all say the same.
    """
    if bank.busy is None:
        raise ValueError("bank must hold busy scenes to show as pictures, got none: draw a pool of them")
    rng = np.random.default_rng((seed, 71))
    source, most = bank.busy.source(rng), min(MOST_PICTURES, len(bank.busy.by_label))
    while True:
        count = int(rng.integers(FEWEST_PICTURES, most + 1))
        task = str(rng.choice(list(SPATIAL)))
        try:
            timeline = plan_picture(rng, task, source, pictures=count)
        except ValueError:  # a small pool may have no scene for a task
            continue
        [question] = timeline.questions
        # Pictures have no times, so what the answer rests on goes without its scene's.
        question = replace(question, evidence=question.evidence.partition(" ")[2])
        words = put_words(question, with_options=bool(rng.random() < MULTIPLE_CHOICE))
        example = BusyExample(timeline, question, *words)
        yield DynamicClip(example, bank.clip_rows(example, rng), pictures=True)


class LikeLengths:
    """Takes clips of like length from a stream, so many that a step has about as many tokens as any other.

    Args:
        stream: endless clips.
        room: tokens of a step, text included.
        rng: chooses which lengths come next.
    """

    def __init__(self, stream: Iterator[DynamicClip], room: int, rng: np.random.Generator) -> None:
        self.stream, self.room, self.rng = stream, room, rng
        self.waiting: list[DynamicClip] = []

    def take(self, each: int, most: int) -> list[DynamicClip]:
        """The next batch, where a frame has so many tokens and a clip at most `most`.

        Lookups are left out where a frame has fewer tokens than `DRILLED_FROM`.
        """
        if len(self.waiting) < WAITING:
            self.waiting += islice(self.stream, WAITING)
            self.waiting.sort(key=lambda clip: len(clip.rows))
        place = int(self.rng.integers(len(self.waiting)))
        found, length = list[DynamicClip](), 0
        while len(found) < FEWEST or (length < self.room and len(found) < MOST_CLIPS):
            place = min(place, len(self.waiting) - 1)
            clip = _drillable(self.waiting.pop(place), each)
            found.append(clip)
            length += clip.visual_tokens(each, most) + clip.text_tokens
        return found


def _drillable(clip: DynamicClip, each: int) -> DynamicClip:
    return clip if clip.fine or each >= DRILLED_FROM else replace(clip, lookups=())


def write_batch(
    model: DynamicVLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    clips: list[DynamicClip],
    tokens_of: list[int],
    most_frames: int | None = None,
) -> DynamicBatch:
    """Prompts as the processor writes them, with answers, and the patches that they speak of.

    Args:
        tokens_of: the budget of each clip.
        most_frames: of a clip; the model's own where None.
    """
    ids, labels, no_answer, rows, grids, seconds = [], [], [], [], [], []
    for clip, tokens in zip(clips, tokens_of, strict=True):
        config = model.config
        room = frames_that_fit(len(clip.rows), tokens, most_frames or config.max_frames)
        kept = thin_evenly(len(clip.rows), room).anchor
        own = config.frame_grids(len(kept), tokens)
        if clip.fine:
            kept = torch.arange(len(clip.rows))
            own = [config.native_grid if t in clip.fine else Grid(1, 1) for t in range(len(kept))]
        times = kept.double() if clip.seconds is None else clip.seconds[kept]
        times = torch.zeros_like(times) if clip.pictures else times
        # See `DynamicVLMProcessor.write_clip`: each of several pictures is a clip of one frame.
        dated = not clip.pictures and (len(kept) > 1 or float(times[0]) > 0)
        timed = times.tolist() if config.timestamps and dated else None
        turns = [write_turn(tokenizer, example) for example in (clip.example, *clip.further)]
        turns += [_drill(tokenizer, clip.lookups)] if clip.lookups else []
        words, learned = ([one for turn in turns for one in turn[part]] for part in (0, 1))
        marked = [one for turn in turns for one in turn[2]]
        start = ids_of(tokenizer, USER) + ids_of(
            tokenizer, write_frames(VIDEO, [g.cells for g in own], timed)
        )
        ids.append(torch.tensor(start + words[1:]))
        labels.append(torch.tensor([IGNORE] * len(start) + learned[1:]))
        no_answer.append(torch.tensor([False] * len(start) + marked[1:]))
        rows.append(clip.rows[kept])
        grids += own
        seconds.append(times)
    return DynamicBatch(
        pad_sequence(ids, batch_first=True, padding_value=int(tokenizer.pad_token_id or 0)),
        pad_sequence(labels, batch_first=True, padding_value=IGNORE),
        pad_sequence([torch.ones(len(row), dtype=torch.long) for row in ids], batch_first=True),
        pad_sequence(no_answer, batch_first=True),
        bank.patches[torch.cat(rows)].float(),
        grids,
        torch.cat(seconds),
    )


def _drill(tokenizer: PreTrainedTokenizerBase, lookups: tuple[Lookup, ...]) -> Turn:
    """A turn of lookups, as the LLM's warm-up had them: what is given is not learned, what is found is.

    All of it is marked as no answer.
    """
    ids = ids_of(tokenizer, USER) + ids_of(tokenizer, LIST_STEMS[0]) + ids_of(tokenizer, ASSISTANT)
    labels = [IGNORE] * len(ids)
    for given, found in lookups:
        for text, learned in ((given, False), (found, True)):
            words = ids_of(tokenizer, text) if text else []
            ids += words
            labels += words if learned else [IGNORE] * len(words)
    end = ids_of(tokenizer, END)
    return Turn(ids + end, labels + [IGNORE] * len(end), [True] * (len(ids) + len(end)))


class DynamicLoss(NamedTuple):
    """What a batch cost.

    Attributes:
        loss: of the replies.
        right: share of the clips whose replies are right in every token, lookups included.
        words: the same without lookups, and without the letter of an option, which is learned last.
        each: (B,) whether the words of each clip's replies are right.
    """

    loss: Tensor
    right: Tensor
    words: Tensor
    each: Tensor


def embed_batch(model: DynamicVLMForConditionalGeneration, batch: DynamicBatch) -> Tensor:
    """(B, S, D): the text's embeddings, with the compressed frames in their places."""
    backbone = model.model
    made = backbone.compress(batch.patches, batch.grids)
    counts = torch.tensor([grid.cells for grid in batch.grids])
    tokens = backbone.project(
        torch.cat([one.features for one in made]), batch.seconds.repeat_interleave(counts)
    )
    places = batch.ids == model.config.video_token_id
    found: Tensor = backbone.get_input_embeddings()(batch.ids).masked_scatter(places[..., None], tokens)
    return found


def dynamic_loss(model: DynamicVLMForConditionalGeneration, batch: DynamicBatch) -> DynamicLoss:
    """Forward pass of a batch."""
    embeds = embed_batch(model, batch)
    hidden = run_packed(model.model.language_model, embeds, batch.mask)
    loss, right = answer_loss(hidden, model.lm_head.weight, batch.labels)
    with torch.no_grad():
        spoken = batch.labels.masked_fill(batch.no_answer, IGNORE)[:, 1:]
        here = spoken != IGNORE
        logits = hidden[:, :-1][here].float() @ model.lm_head.weight.float().mT
        wrong = torch.zeros_like(here)
        wrong[here] = logits.argmax(dim=-1) != spoken[here]
        each = ~wrong.any(dim=1)
    return DynamicLoss(loss, right, each.float().mean(), each)
