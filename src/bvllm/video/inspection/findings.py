"""List what is unusual about a video, one line for each finding."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from bvllm.video import VideoInfo, VideoReport, WarningKind
from bvllm.video.inspection.packet_stats import PacketStats

Weight = Literal[
    "broken",  # no answer is possible
    "loss",  # a part of the video is missing
    "doubt",  # times or pictures may not be as they were meant
    "cost",  # right, but slow
    "odd",  # unusual, and taken care of
]
WEIGHTS: tuple[str, ...] = get_args(Weight)
# How heavy the reader's own warnings are; what is not here leaves the answer in doubt.
WEIGHT_OF: dict[WarningKind, Weight] = {
    "limit": "loss", "truncated": "loss", "io": "loss", "damage": "loss", "several": "odd"
}  # fmt: skip

UNEVEN = 1.5  # a step this much longer than the middle one; rounding to milliseconds stays below
LONG_GAP_SECONDS = 10.0
FAR_KEYS_SECONDS = 10.0
LATE_START_SECONDS = 0.5
FAST_FRAMES = 100.0  # per second: cameras and screens stay below
CLAIM_SLACK_SECONDS = 1.0
# What files of each container are called.
CALLED = {
    "mov": (".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".avif", ".m4a"),
    "matroska": (".mkv", ".webm"),
    "avi": (".avi",),
    "mpegts": (".ts", ".m2ts", ".mts"),
    "mpeg": (".mpg", ".mpeg", ".vob"),
    "flv": (".flv",),
    "asf": (".asf", ".wmv"),
    "ogg": (".ogv", ".ogg"),
    "ivf": (".ivf",),
    "gif": (".gif",),
    "apng": (".png", ".apng"),
    "png_pipe": (".png",),
    "jpeg_pipe": (".jpg", ".jpeg"),
    "webp_pipe": (".webp",),
    "h264": (".h264", ".264", ".avc"),
    "hevc": (".hevc", ".265", ".h265"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that is not as usual: how much it weighs, its name, and a line about it."""

    weight: Weight
    name: str
    text: str


def findings_of(
    path: Path,
    info: VideoInfo,
    report: VideoReport,
    packets: PacketStats,
    sizes: tuple[tuple[int, int], ...],
) -> tuple[Finding, ...]:
    """Return every finding about the file, heaviest first."""
    found = [
        *_from_report(report),
        *_about_times(info, report, packets),
        *_about_pictures(info, packets, sizes),
        *_about_cost(info, report, packets),
        *_about_the_file(path, info, packets),
    ]
    return tuple(sorted(found, key=lambda finding: WEIGHTS.index(finding.weight)))


def _from_report(report: VideoReport) -> list[Finding]:
    """The reader's own warnings; their kind is their name."""
    return [
        Finding(WEIGHT_OF.get(warning.kind, "doubt"), warning.kind, warning.text)
        for warning in report.warnings
    ]


def _about_times(info: VideoInfo, report: VideoReport, packets: PacketStats) -> list[Finding]:
    found = []
    if report.substituted or packets.untimed or packets.repeated:
        text = (
            f"{packets.untimed} pictures carry no time and {packets.repeated} that of another; "
            f"{report.substituted} of {report.decoded} got one made up from their neighbours'"
        )
        found.append(Finding("doubt", "times made up", text))
    steps = packets.frame_steps
    if steps is not None and steps.greatest > LONG_GAP_SECONDS:
        found.append(Finding("odd", "gap", f"nothing is shown for {steps.greatest:.1f} s at a stretch"))
    if steps is not None and 0 < steps.middle * UNEVEN < steps.greatest:
        text = (
            f"pictures are {steps.least:.3g} to {steps.greatest:.3g} s apart; they are taken by their times"
        )
        found.append(Finding("odd", "variable frame rate", text))
    if packets.first_seconds and abs(packets.first_seconds) > LATE_START_SECONDS:
        text = f"the container's clock begins at {packets.first_seconds:.3f} s; ours begins at 0"
        found.append(Finding("odd", "late start" if packets.first_seconds > 0 else "negative start", text))
    if packets.edited:
        text = f"{packets.hidden} of {packets.packets} packets are decoded but not shown"
        found.append(Finding("odd", "edit list", text))
    return found + _about_length(info, report, packets)


def _about_length(info: VideoInfo, report: VideoReport, packets: PacketStats) -> list[Finding]:
    """Headers name a length for the pictures, for the file, or for neither."""
    claims = [claim for claim in (info.duration_seconds, packets.claimed_seconds) if claim]
    if info.still or report.truncated:
        return []
    if not claims:
        return [Finding("odd", "no duration", "the header names none; it was found by reading")]
    furthest = max(claims, key=lambda claim: abs(claim - report.seconds))
    if abs(furthest - report.seconds) <= CLAIM_SLACK_SECONDS:
        return []
    longer = furthest > report.seconds and packets.streams.sounds + packets.streams.others
    reason = ": another stream may be longer" if longer else ""
    text = f"the header says {furthest:.1f} s, there are {report.seconds:.1f} s of pictures{reason}"
    return [Finding("odd", "wrong duration", text)]


def _about_pictures(
    info: VideoInfo, packets: PacketStats, sizes: tuple[tuple[int, int], ...]
) -> list[Finding]:
    found = []
    picture = packets.picture
    if picture is not None and picture.hdr:
        text = (
            f"{picture.hdr} colours of {picture.bits} bits are taken as ordinary ones: pictures appear pale"
        )
        found.append(Finding("doubt", "HDR", text))
    if picture is not None and picture.interlaced:
        text = "two half pictures are woven into one: what moves has comb-like edges"
        found.append(Finding("doubt", "interlaced", text))
    if len(sizes) > 1:
        text = ", then ".join(f"{width}x{height}" for width, height in sizes)
        found.append(Finding("odd", "size changes", f"{text}; every frame is brought to one size"))
    if info.rotation or info.mirrored:
        turns = [f"turned by {info.rotation} degrees"] * bool(info.rotation) + ["mirrored"] * info.mirrored
        found.append(Finding("odd", "turned", f"stored pictures are {' and '.join(turns)} to be upright"))
    if picture is not None and abs(picture.pixel_ratio - 1) > 0.01:
        text = f"stored as {info.stored_width}x{info.stored_height}, shown as {info.width}x{info.height}"
        found.append(Finding("odd", "stretched", text))
    if info.still:
        found.append(Finding("odd", "still", "a picture, not a video: its one frame is all there is"))
    return found


def _about_cost(info: VideoInfo, report: VideoReport, packets: PacketStats) -> list[Finding]:
    found = []
    if packets.keys <= 1 and packets.seconds > FAR_KEYS_SECONDS:
        text = "only the first picture can be begun with: every seek decodes from the start"
        found.append(Finding("cost", "no key pictures", text))
    elif packets.key_steps is not None and packets.key_steps.greatest > FAR_KEYS_SECONDS:
        text = (
            f"they lie {packets.key_steps.middle:.1f} s apart, {packets.key_steps.greatest:.1f} s at most: a "
            "seek decodes as much"
        )
        found.append(Finding("cost", "rare key pictures", text))
    if packets.frame_steps is not None and 0 < packets.frame_steps.middle < 1 / FAST_FRAMES:
        text = f"{1 / packets.frame_steps.middle:.0f} pictures a second: decoding costs accordingly"
        found.append(Finding("cost", "high frame rate", text))
    return found


def _about_the_file(path: Path, info: VideoInfo, packets: PacketStats) -> list[Finding]:
    found = []
    streams = packets.streams
    if streams.covers:
        found.append(Finding("odd", "cover", f"{streams.covers} cover pictures are passed over"))
    suffix = path.suffix.lower()
    expected = CALLED.get(info.container.split(",")[0], ())
    if suffix and expected and suffix not in expected:
        text = f"a file of type {container_name(info)} is called {suffix}; the content counts"
        found.append(Finding("odd", "wrong suffix", text))
    return found


def container_name(info: VideoInfo) -> str:
    """The container's common name: FFmpeg lists every format that one demuxer reads."""
    first = info.container.split(",")[0]
    return {"mov": "mp4"}.get(first, first.removesuffix("_pipe"))
