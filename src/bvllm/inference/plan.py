"""Count what a question about a video would cost, before any model is loaded."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bvllm.common.text import format_clock, local_path
from bvllm.common.threads import usable_cores
from bvllm.inference.loading import CHUNK
from bvllm.inference.planned_model import TEXT_TOKENS, planned_model
from bvllm.types import Budget
from bvllm.video import Limits, SamplingPlan, VideoError, VideoInfo, probe
from bvllm.video.inspection.packet_stats import PacketStats, packet_stats
from bvllm.video.sampling import Picker


@dataclass(frozen=True)
class QuestionPlan:
    """What one question would take.

    Attributes:
        source, model, fps, start, end: as asked for.
        info: what the video is.
        seconds_of_video: from the first picture to the end of the last, by its packets.
        frames: how many would be sampled.
        packets, groups: what the file holds: packets, and groups of pictures that begin with a key picture.
        packets_needed, groups_needed: what must be decoded at most for these frames.
        patches_per_frame: pieces that the vision tower cuts a frame into.
        frames_chosen, tokens: what the language model is given at most.
        tokens_plain: what it would be given of all sampled frames without a budget.
        context: the most tokens that it reads, prompt and answer together.
        prefill_flops, prefill_flops_plain: of reading the prompt, with `TEXT_TOKENS` of text, at the budget
            and without.
        state_bytes, state_bytes_plain: keys and values of that prompt, at two bytes a number.
        feature_bytes, frame_bytes: features in memory, and frames on disk, both for as long as it is asked.
        weight_bytes: of the model.
        memory_bytes: estimate of the whole process.
    """

    source: str
    model: str
    fps: float
    start: float
    end: float | None
    info: VideoInfo
    seconds_of_video: float
    frames: int
    packets: int
    groups: int
    packets_needed: int
    groups_needed: int
    patches_per_frame: int
    frames_chosen: int
    tokens: int
    tokens_plain: int
    context: int
    prefill_flops: int
    prefill_flops_plain: int
    state_bytes: int
    state_bytes_plain: int
    feature_bytes: int
    frame_bytes: int
    weight_bytes: int
    memory_bytes: int


def plan_question(
    source: str | Path,
    *,
    model: str = "nano",
    fps: float = 1.0,
    start: float = 0.0,
    end: float | None = None,
    budget: Budget | None = None,
    tokens: int | None = None,
    frames: int | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> QuestionPlan:
    """Count what a question would cost; no weights are read, and one frame is decoded.

    Time is not predicted: it depends on the machine and on what else runs there, and `ask` prints what each
    step took.

    Args:
        source: the video's file.
        model: "nano", a folder or a hub id, of which the configuration alone is read.
        fps: frames to sample per second of video.
        start, end: seconds since the first frame of the part that is asked about.
        budget: what the language model may be given; None takes the model's own.
        tokens, frames: another part of that budget.
        limits: what the video may cost.

    Raises:
        VideoError: the video cannot be read.
        ModelError: the configuration cannot be read.
        ValueError: fps is out of range, the part is empty, or the model's name means nothing.
    """
    source = local_path(source) if isinstance(source, str) else source
    counted, sampling = planned_model(model), SamplingPlan(fps=fps, start=start, end=end)
    budget = (budget or counted.budget).with_parts(tokens, frames)
    packets = packet_stats(source, limits)
    info = probe(source, limits)
    sampled = _frames(packets, sampling)
    chosen = counted.chosen(sampled, budget)
    spent, plain = min(budget.tokens, chosen * counted.tokens_per_frame), sampled * counted.tokens_plain
    size, weights = counted.frame_size, counted.weight_bytes
    features = sampled * counted.feature_channels * 4
    needed, groups_needed = packets.decoded_for(sampling)
    cores = usable_cores()
    return QuestionPlan(
        source=str(source),
        model=model,
        fps=fps,
        start=start,
        end=end,
        info=info,
        seconds_of_video=packets.seconds,
        frames=sampled,
        packets=packets.packets,
        groups=packets.keys,
        packets_needed=needed,
        groups_needed=groups_needed,
        patches_per_frame=counted.patches,
        frames_chosen=chosen,
        tokens=spent,
        tokens_plain=plain,
        context=counted.positions,
        prefill_flops=counted.prefill_flops(spent),
        prefill_flops_plain=counted.prefill_flops(plain),
        state_bytes=counted.state_bytes(spent),
        state_bytes_plain=counted.state_bytes(plain),
        feature_bytes=features,
        frame_bytes=sampled * 3 * size[0] * size[1],
        weight_bytes=weights,
        memory_bytes=_resident_bytes() + weights + features + cores * CHUNK * 3 * size[0] * size[1] * 4,
    )


def plan_text(plan: QuestionPlan) -> str:
    """The plan as a few lines; what is estimated says so."""
    info = plan.info
    asked = SamplingPlan(start=plan.start, end=plan.end)
    part = f" of {asked.part}" if asked.is_part else ""
    rate = f", {info.frame_rate:g} pictures a second" if info.frame_rate else ""
    rows = [
        (info.codec, f"{info.width}x{info.height}, {format_clock(plan.seconds_of_video)}{rate}"),
        ("frames", f"{_count(plan.frames)} at {plan.fps:g} a second{part}"),
        (
            "decode",
            f"{_count(plan.packets)} packets with {_count(plan.groups)} key pictures; at most "
            f"{_count(plan.packets_needed)} must be decoded, in {_count(plan.groups_needed)} of the groups",
        ),
        (
            "patches",
            f"{_count(plan.frames)} x {plan.patches_per_frame} = "
            f"{_count(plan.frames * plan.patches_per_frame)}",
        ),
        (
            "tokens",
            f"{plan.tokens} from {plan.frames_chosen} frames at most; {_count(plan.tokens_plain)} of all "
            f"without a budget, where the language model reads {_count(plan.context)}",
        ),
        (
            "prefill",
            f"{_flops(plan.prefill_flops)} with {TEXT_TOKENS} tokens of text, "
            f"{_flops(plan.prefill_flops_plain)} without a budget; keys and values "
            f"{_megabytes(plan.state_bytes)}, {_megabytes(plan.state_bytes_plain)} without",
        ),
        (
            "memory",
            f"about {_megabytes(plan.memory_bytes)}, {_megabytes(plan.weight_bytes)} of it weights and "
            f"{_megabytes(plan.feature_bytes)} features; {_megabytes(plan.frame_bytes)} of frames on disk",
        ),
        ("", "memory is an estimate; all else is counted, and is the most that it can be"),
    ]
    return "\n".join(f"{name:<8}{text}".rstrip() for name, text in rows)


def plan_json(plan: QuestionPlan) -> dict[str, object]:
    """The plan as plain numbers and strings."""
    return {**asdict(plan), "estimated": ["memory_bytes"]}


def _frames(packets: PacketStats, sampling: SamplingPlan) -> int:
    """Frames that sampling gives: one that is shown for long answers many targets, and counts once."""
    shown = np.sort(packets.pts[~packets.is_hidden])
    if packets.untimed:
        return min(len(shown), sampling.targets(len(shown), packets.seconds))
    picker, kept = Picker(sampling), False
    for ordinal, second in enumerate(shown.tolist()):
        kept = picker.take(ordinal, second)
    picker.close(packets.seconds, can_stand_in=not kept)
    if not picker.got:
        raise VideoError(
            "usage", f"video must show a frame from {sampling.part}, got none: name another part of it"
        )
    return picker.got


def _resident_bytes() -> int:
    """What this process takes by now, its libraries loaded; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _flops(count: int) -> str:
    """Floating-point operations in a unit that reads well.

    Example:
        >>> _flops(4_200_000_000), _flops(3_100_000_000_000)
        ('4.2 GFLOP', '3.1 TFLOP')
    """
    unit, size = ("TFLOP", 1e12) if count >= 1e12 else ("GFLOP", 1e9)
    return f"{count / size:.1f} {unit}"


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count < 1e7 else f"{count / 1e6:,.0f} MB".replace(",", " ")
