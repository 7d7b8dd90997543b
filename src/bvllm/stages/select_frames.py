"""Text-conditioned adaptive frame selection (B-VLLM, arXiv 2412.09919, Sec. 3.2).

Learned queries read the [CLS] features of all frames and the question; each then points at one frame:

    Q = QFormer(V_cls, question)                            L queries
    S = GumbelSoftmax(Q V_cls^T, tau),  V* = S V            (eq. 1)

At inference S is the arg-max as one-hot rows: the limit of eq. 1 for tau -> 0 without its noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from bvllm.primitives.assignment import DROP, Assignment
from bvllm.primitives.choice import TAU, Mode, choose, strongest
from bvllm.primitives.positions import relative_position_features
from bvllm.stages.merge_frames import SimilarFrameMerging, order_by_time
from bvllm.stages.method import Lands, Slot
from bvllm.stages.qformer import QFormer
from bvllm.stages.resampler import Resampler
from bvllm.types import Clip, FrameSelection, Questions, SignalName

__all__ = ["TAU", "FrameSelector", "LearnedSelection", "Mode", "choose", "pad_clips", "select"]


class FrameSelector(nn.Module):
    """What every query thinks of every frame, for a batch of clips of any lengths.

    With `time_channels` the selector knows when a frame happens: fixed features of its place in the clip
    are part of the key that a query is compared with, and, projected, part of what the reader reads.

    Args:
        reader: turns frames and question into L queries.
        query_width: H, the width of the reader's queries.
        channels: C, the width of a frame feature.
        time_channels: P; 0 leaves time out, as in the paper. [CLS] features carry no time and the Q-Former
            has no positions on what it reads, so with 0 the order of the frames has no influence at all.

    Source: B-VLLM, Sec. 3.2, eq. 1. Logits are divided by sqrt(C), which the released code does and the paper
    leaves out; `proj` bridges the two widths.

    Example:
        >>> from bvllm.stages.resampler import Resampler
        >>> selector = FrameSelector(Resampler(6, 8, num_queries=3), query_width=8, channels=6)
        >>> there = torch.ones(1, 5, dtype=torch.bool)
        >>> tuple(selector(torch.randn(1, 5, 6), there, torch.arange(5.0)[None]).shape)
        (1, 3, 5)
    """

    slots: ClassVar[tuple[Slot, ...]] = ("select_frames",)
    paper: ClassVar[str] = "https://arxiv.org/abs/2412.09919"
    needs: ClassVar[frozenset[SignalName]] = frozenset()  # words come to it as tokens, beside the frames
    lands: ClassVar[Lands] = "below"
    learned: ClassVar[bool] = True
    blind: ClassVar[bool] = False

    def __init__(
        self, reader: QFormer | Resampler, query_width: int, channels: int, time_channels: int = 0
    ) -> None:
        super().__init__()
        if time_channels < 0:
            raise ValueError(
                f"time_channels must be 0 or more, got {time_channels}: 0 switches positions off"
            )
        self.reader = reader
        self.proj = nn.Linear(query_width, channels + time_channels)
        self.time_proj = nn.Linear(time_channels, channels) if time_channels else None
        self.channels = channels
        self.time_channels = time_channels

    def forward(
        self,
        frames: Tensor,
        mask: Tensor,
        seconds: Tensor,
        question_ids: Tensor | None = None,
        question_mask: Tensor | None = None,
    ) -> Tensor:
        """Score all frames of all clips, in one call of the reader.

        Args:
            frames: (B, T, C) one feature per frame, padded.
            mask: (B, T) True where there is a frame.
            seconds: (B, T) presentation times.
            question_ids, question_mask: (B, Q).

        Returns:
            (B, L, T) logits; -inf where there is no frame.

        Raises:
            ValueError: shapes disagree, or a clip has no frame at all.
        """
        self._check(frames, mask, seconds)
        mask = mask.bool()
        keys = seen = frames.to(self.proj.weight.dtype)
        if not bool(mask.all()):
            keys = seen = keys.masked_fill(~mask[..., None], 0.0)  # padding may hold anything, NaN included
        if self.time_proj is not None:
            places = relative_position_features(seconds, mask, self.time_channels).to(keys.dtype)
            seen = self.time_proj(places)
            seen = seen + keys if torch.is_grad_enabled() else seen.add_(keys)
        queries = self.reader(seen, mask, question_ids, question_mask).queries
        del seen  # of a long video everything here is large
        if self.time_proj is not None:
            keys = torch.cat([keys, places], dim=-1)
        # In float32 whatever the weights are: in bfloat16 frames of a long video tie, and the earliest wins.
        logits: Tensor = self.proj(queries).float() @ keys.float().mT / self.channels**0.5
        return logits.masked_fill(~mask[:, None], -torch.inf)

    def _check(self, frames: Tensor, mask: Tensor, seconds: Tensor) -> None:
        if frames.ndim != 3 or frames.shape[-1] != self.channels:
            raise ValueError(
                f"frames must be (clips, frames, {self.channels}), got shape {tuple(frames.shape)}: "
                "pad clips to one tensor of frame features"
            )
        for name, value in (("mask", mask), ("seconds", seconds)):
            if value.shape != frames.shape[:2]:
                raise ValueError(
                    f"{name} must be {tuple(frames.shape[:2])}, got shape {tuple(value.shape)}: pad it alike"
                )
        if not bool(mask.any(dim=-1).all()):
            raise ValueError(
                f"mask must leave every clip a frame, got {mask.sum(-1).tolist()} frames: drop empty clips"
            )


@dataclass(frozen=True)
class LearnedSelection:
    """A frame selector as the pipeline runs it, with how its queries choose.

    Attributes:
        selector: scores all frames of a batch of clips.
        queries: L*, how many of its queries may choose at most.
        mode: how they choose: "hard" at inference, softly in training.
        tau: temperature of a soft choice.
        certainty, least_strength, second_choices: see `select`.
    """

    selector: nn.Module
    queries: int
    mode: Mode = "hard"
    tau: float = TAU
    certainty: float = 0.0
    least_strength: float = 0.0
    second_choices: float = 0.0

    def select(
        self,
        clips: Sequence[Clip],
        questions: Questions | None,
        keep: int,
        merging: SimilarFrameMerging | None,
    ) -> list[FrameSelection]:
        """Choose at most `keep` frames of each clip, in one call of the selector.

        Args:
            merging: how rows that point alike become one; a clip of one frame always keeps one row.
        """
        padded, mask, times = pad_clips([c.features for c in clips], [c.seconds for c in clips])
        ids, words = (None, None) if questions is None else questions
        logits = self.selector(padded, mask, times, ids, words)
        return [
            select(
                logits[b, :, : len(clip)],
                clip.seconds,
                keep=keep,
                # A picture is one frame, however many queries look at it.
                merging=merging or (SimilarFrameMerging() if len(clip) == 1 else None),
                mode=self.mode,
                tau=self.tau,
                certainty=self.certainty,
                least_strength=self.least_strength,
                second_choices=self.second_choices,
            )
            for b, clip in enumerate(clips)
        ]


def select(
    logits: Tensor,
    seconds: Tensor,
    *,
    keep: int | None = None,
    merging: SimilarFrameMerging | None = None,
    mode: Mode = "hard",
    tau: float = TAU,
    certainty: float = 0.0,
    least_strength: float = 0.0,
    second_choices: float = 0.0,
    generator: Generator | None = None,
) -> FrameSelection:
    """Sec. 3.2 and 3.3 for one clip: choose, put in the order of time, merge what is the same.

    Args:
        logits: (L, T) what every query thinks of every frame of the clip, without padding.
        seconds: (T,) presentation times, ascending.
        keep: how many queries may choose, the first ones; None lets all choose.
        merging: how duplicates merge, in the order of time, or of the queries where `released`; None keeps
            one row per query.
        mode, tau, generator: see `choose`.
        certainty: rows stay whose score is at least this share of the best one's; 0 keeps all. Above 0 the
            number of frames follows from the question, and the number of queries is only the most.
        least_strength: above 0, and where queries choose hard, they choose together: see `choose_together`,
            with `keep` frames at most.
        second_choices: what `take_second_choices` is given where queries choose hard; 0 leaves them as they
            chose.

    Returns:
        Rows in the order of the frames they stand on.

    Example:
        >>> chosen = select(torch.tensor([[0.0, 9.0], [9.0, 0.0], [0.0, 9.0]]), torch.tensor([0.0, 1.0]),
        ...     merging=SimilarFrameMerging())
        >>> chosen.frames.tolist(), chosen.size.tolist()
        ([0, 1], [1.0, 2.0])
    """
    if keep is not None and keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}: raise budget.frames")
    if least_strength and mode == "hard":
        return choose_together(logits, seconds, least_strength, keep or logits.shape[1])
    S = choose(logits[:keep], tau=tau, mode=mode, generator=generator)
    if second_choices and mode == "hard":
        S = take_second_choices(S, logits[:keep], second_choices)
    by_query = merging is not None and merging.released  # as the authors' code merges; rows are sorted below
    order = torch.arange(len(S), device=S.device) if by_query else order_by_time(S, seconds)
    S = S[order]
    plan = Assignment.identity(len(S), S.device) if merging is None else merging.assign(S)
    once = torch.ones(len(S), device=S.device)
    weights = plan.mean(S, once)
    frames = weights.argmax(dim=-1)
    kept = plan.target != DROP
    target = plan.target[kept]
    trust = logits[:keep][order].detach().float().softmax(dim=-1)[kept]
    sure = trust.gather(1, frames[target, None])[:, 0]
    scores = sure.new_zeros(len(plan)).scatter_reduce(0, target, sure, "amax")
    # A soft row may stand on a frame before that of an earlier row; the tokens' clock must not run back.
    rows = frames.argsort(stable=True)
    rows = rows[scores[rows] >= certainty * scores.max()]
    frames = frames[rows]
    return FrameSelection(weights[rows], frames, seconds[frames], plan.sum(once)[rows], scores[rows], logits)


@torch.no_grad()
def choose_together(logits: Tensor, seconds: Tensor, least: float, most: int) -> FrameSelection:
    """Choose every frame that the queries together find strong enough: as many as the question asks for.

    The strength of a frame is the mean weight that the queries give it, as in `take_second_choices`.

    Args:
        logits: (L, T) what every query thinks of every frame.
        seconds: (T,) presentation times, ascending.
        least: a frame is strong enough that has this share of the strongest one's strength, in (0, 1].
        most: frames at most; the strongest stay.

    Source: ours; Sec. 8.2 leaves a selection that needs no L* to future work.

    Example:
        >>> logits = torch.tensor([[5.0, 5.0, 0.0, 4.0]])
        >>> choose_together(logits, torch.arange(4.0), 0.3, 8).frames.tolist()
        [0, 1, 3]
    """
    weights = logits.float().softmax(dim=-1)
    strength = weights.mean(dim=0)
    enough = int((strength >= least * strength.max()).sum())
    frames = strongest(strength, min(enough, most)).sort().values
    rows = torch.nn.functional.one_hot(frames, logits.shape[1]).to(logits.dtype)
    once = torch.ones(len(frames), device=logits.device)
    return FrameSelection(rows, frames, seconds[frames], once, weights.amax(dim=0)[frames], logits)


@torch.no_grad()
def take_second_choices(S: Tensor, logits: Tensor, least: float) -> Tensor:
    """Let queries that agree with a surer one choose the strongest frames that nobody chose.

    Queries that are after one scene of a long video all point at its best frame: 31 of 32 are spent on
    nothing, and neither the scene's beginning nor its end is seen. The strength of a frame is the mean weight
    that the queries give it: frames like the chosen ones come first, then other scenes if they come close.

    Args:
        S: (L, T) one-hot rows.
        logits: (L, T) what every query thinks of every frame.
        least: a frame is strong enough that has this share of the strongest one's strength, in (0, 1].

    Returns:
        (L, T) one-hot rows; as many as came.

    Source: ours. In the paper queries that agree merge (Sec. 3.3), and what they might have shown is lost.

    Example:
        >>> logits = torch.tensor([[5.0, 4.0, 0.0], [5.0, 4.0, 0.0]])
        >>> take_second_choices(choose(logits), logits, 0.1).argmax(-1).tolist()
        [0, 1]
    """
    weights = logits.float().softmax(dim=-1)
    strength, chosen = weights.mean(dim=0), S.argmax(dim=-1)
    own = weights.gather(1, chosen[:, None])[:, 0]
    taken: set[int] = set()
    spare = []
    for query in own.argsort(descending=True, stable=True).tolist():
        frame = int(chosen[query])
        if frame in taken:
            spare.append(query)
        taken.add(frame)
    enough = int((strength >= least * strength.max()).sum())
    free = [t for t in strongest(strength, enough).tolist() if t not in taken]
    moved = S.clone()
    for query, frame in zip(spare, free):
        moved[query] = 0
        moved[query, frame] = 1
    return moved


def pad_clips(frames: Sequence[Tensor], seconds: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Clips of different lengths side by side.

    Returns:
        Frames (B, T, C), mask (B, T), seconds (B, T).
    """
    device = frames[0].device
    lengths = torch.tensor([len(clip) for clip in frames], device=device)
    mask = torch.arange(int(lengths.max()), device=device) < lengths[:, None]
    if len(frames) == 1:  # as it is: a copy of ten hours is worth saving
        return frames[0][None], mask, seconds[0][None]
    return pad_sequence(list(frames), batch_first=True), mask, pad_sequence(list(seconds), batch_first=True)
