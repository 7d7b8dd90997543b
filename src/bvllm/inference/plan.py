"""Count what a question about a video would cost, before any model is loaded."""

import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from bvllm.common.text import format_clock
from bvllm.common.threads import one_kernel_thread, usable_cores
from bvllm.inference.loading import CHUNK, ModelError
from bvllm.inference.model_name import resolve_model
from bvllm.inference.speed import ANSWER_TOKENS, ModelSpeed, model_speed
from bvllm.model import BVLLMConfig, BVLLMForConditionalGeneration
from bvllm.model.vision_tower import frame_size, hidden_size, patch_count
from bvllm.types import Budget
from bvllm.video import Limits, SamplingPlan, VideoInfo, read_video
from bvllm.video.inspection.packet_stats import PacketStats, packet_stats
from bvllm.video.sampling import Picker

SAMPLE_SECONDS = 0.6  # of decoding, to know how fast it goes here


@dataclass(frozen=True)
class Seconds:
    """Estimated computing time of one core; `wall` is what passes on a clock if the cores are free.

    Attributes:
        decode: opening, decoding and shrinking the frames.
        look: the vision tower's first pass over all of them.
        answer: patches of the chosen frames, reading them and writing a short answer. Choosing and sampling
            are left out: they take milliseconds.
        wall: decoding goes on beside looking, and the cores share both.
    """

    decode: float
    look: float
    answer: float
    wall: float


@dataclass(frozen=True)
class QuestionPlan:
    """What one question would take.

    Attributes:
        source, model, fps: as asked for.
        info: what the video is.
        seconds_of_video: from the first picture to the end of the last, by its packets.
        frames: how many would be looked at.
        packets, groups: what the file holds: packets, and groups of pictures that begin with a key picture.
        packets_needed, groups_needed: what must be decoded at most for these frames.
        patches_per_frame: pieces that the vision tower cuts a frame into.
        frames_chosen, tokens: what the language model is given at most.
        feature_bytes, frame_bytes: features in memory, and frames on disk, both for as long as it is asked.
        weight_bytes: of the model.
        memory_bytes: estimate of the whole process.
        measured_share: of the video that was decoded to estimate the rest; 1 where all of it was.
        cores: that share the work.
        estimate: of the time.
    """

    source: str
    model: str
    fps: float
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
    feature_bytes: int
    frame_bytes: int
    weight_bytes: int
    memory_bytes: int
    measured_share: float
    cores: int
    estimate: Seconds


def plan_question(
    source: str | Path,
    *,
    model: str = "nano",
    fps: float = 1.0,
    budget: Budget | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> QuestionPlan:
    """Count what can be counted and estimate the rest, in a second or two; no weights are read.

    Times rest on two measurements made on the spot: the video's own first seconds are decoded, and layers of
    the model's shape are run on random numbers.

    Args:
        source: the video's file.
        model: "nano", a folder or a hub id, of which the configuration alone is read.
        fps: frames to look at per second of video.
        budget: what the language model may be given; None is 512 tokens from 32 frames.
        limits: what the video may cost.

    Raises:
        VideoError: the video cannot be read.
        ModelError: the configuration cannot be read.
        ValueError: fps is out of range or the model's name means nothing.
    """
    budget, sampling = budget or Budget(), SamplingPlan(fps=fps)
    config = _config(model)
    packets = packet_stats(source, limits)
    size = frame_size(config.vision_config)
    info, share, decode = _decode_a_little(source, sampling, limits, size, packets)
    frames = _frames(packets, sampling)
    chosen, tokens = _spent(config, budget, frames)
    speed = model_speed(config, tokens)
    weights = _weight_bytes(config)
    features = frames * hidden_size(config.vision_config) * 4
    needed, groups_needed = packets.decoded_for(fps)
    cores = usable_cores()
    return QuestionPlan(
        source=str(source),
        model=model,
        fps=fps,
        info=info,
        seconds_of_video=packets.seconds,
        frames=frames,
        packets=packets.packets,
        groups=packets.keys,
        packets_needed=needed,
        groups_needed=groups_needed,
        patches_per_frame=patch_count(config.vision_config),
        frames_chosen=chosen,
        tokens=tokens,
        feature_bytes=features,
        frame_bytes=frames * 3 * size[0] * size[1],
        weight_bytes=weights,
        memory_bytes=_resident_bytes() + weights + features + cores * CHUNK * 3 * size[0] * size[1] * 4,
        measured_share=share,
        cores=cores,
        estimate=_estimate(decode, frames, chosen, speed, cores),
    )


def plan_text(plan: QuestionPlan) -> str:
    """The plan as a few lines; what is estimated says so."""
    info, time_ = plan.info, plan.estimate
    rate = f", {info.frame_rate:g} pictures a second" if info.frame_rate else ""
    rows = [
        (info.codec, f"{info.width}x{info.height}, {format_clock(plan.seconds_of_video)}{rate}"),
        ("frames", f"{_count(plan.frames)} at {plan.fps:g} a second"),
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
        ("tokens", f"{plan.tokens} from {plan.frames_chosen} frames at most"),
        (
            "memory",
            f"about {_megabytes(plan.memory_bytes)}, {_megabytes(plan.weight_bytes)} of it weights and "
            f"{_megabytes(plan.feature_bytes)} features; {_megabytes(plan.frame_bytes)} of frames on disk",
        ),
        (
            "time",
            f"about {_duration(time_.wall)} if {plan.cores} cores are free: decode {_duration(time_.decode)} "
            f"and look {_duration(time_.look)} of one core, once if it is indexed, then answer "
            f"{_duration(time_.answer)}",
        ),
        (
            "",
            f"memory and time are estimates: {plan.measured_share:.0%} of the video was decoded, and layers "
            "of the model's shape were timed; loading the model is not counted",
        ),
    ]
    return "\n".join(f"{name:<8}{text}".rstrip() for name, text in rows)


def plan_json(plan: QuestionPlan) -> dict[str, object]:
    """The plan as plain numbers and strings."""
    return {**asdict(plan), "estimated": ["memory_bytes", "estimate"], "answer_tokens": ANSWER_TOKENS}


def _config(model: str) -> BVLLMConfig:
    where = resolve_model(model)
    try:
        config: BVLLMConfig = BVLLMConfig.from_pretrained(where)
        return config
    except (
        Exception
    ) as error:  # transformers and the hub raise all kinds for a broken or absent configuration
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"model {model!r} cannot be planned for: {lines[0]}") from error


def _decode_a_little(
    source: str | Path, sampling: SamplingPlan, limits: Limits, size: tuple[int, int], packets: PacketStats
) -> tuple[VideoInfo, float, float]:
    """(what the video is, share of it that was decoded, seconds of computing that all of it would take)."""
    started = time.process_time()
    with one_kernel_thread(), read_video(source, sampling, limits, size, chunk=1) as video:
        opened, reached, whole = 0.0, 0.0, True
        for chunk in video:
            # The packets are walked once, before the first frame, however much is decoded then.
            opened = opened or time.process_time() - started
            reached = float(chunk.seconds[-1])
            if reached and time.process_time() - started > SAMPLE_SECONDS:
                whole = False
                break
        spent = time.process_time() - started
        share = 1.0 if whole else min(1.0, reached / packets.seconds)
        return video.info, share, opened + (spent - opened) / share


def _frames(packets: PacketStats, sampling: SamplingPlan) -> int:
    """Frames that sampling gives: one that is shown for long answers many targets, and counts once."""
    shown = np.sort(packets.pts[~packets.is_hidden])
    if packets.untimed:
        return min(len(shown), sampling.targets(len(shown), packets.seconds))
    picker, kept = Picker(sampling), False
    for ordinal, second in enumerate(shown.tolist()):
        kept = picker.take(ordinal, second)
    picker.close(packets.seconds, can_stand_in=not kept)
    return picker.got


def _spent(config: BVLLMConfig, budget: Budget, frames: int) -> tuple[int, int]:
    """(frames chosen, tokens) at most."""
    chosen = min(frames, budget.frames, config.num_selected_frames)
    if config.select_frames == "none":
        chosen = frames
    return chosen, min(budget.tokens, chosen * config.tokens_per_frame)


def _estimate(decode: float, frames: int, chosen: int, speed: ModelSpeed, cores: int) -> Seconds:
    look = math.ceil(frames / CHUNK) * CHUNK * speed.frame
    answer = chosen * speed.frame + speed.read + ANSWER_TOKENS * speed.token
    beside = (decode + look) / cores if speed.device == "cpu" else max(decode / cores, look)
    return Seconds(decode, look, answer, beside + answer)


def _weight_bytes(config: BVLLMConfig) -> int:
    """Of a model that has shapes but no numbers."""
    with torch.device("meta"):
        model = BVLLMForConditionalGeneration(config)
    width = 4 if not torch.cuda.is_available() else torch.finfo(config.dtype or torch.float32).bits // 8
    return int(width * sum(p.numel() for p in model.parameters()))


def _resident_bytes() -> int:
    """What this process takes by now, its libraries loaded; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count < 1e7 else f"{count / 1e6:,.0f} MB".replace(",", " ")


def _duration(seconds: float) -> str:
    return f"{seconds:.1g} s" if seconds < 1 else f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
