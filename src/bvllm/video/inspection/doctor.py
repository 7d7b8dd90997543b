"""Examine a video: report what is odd or broken in it, and which frames an answer would rest on."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bvllm.common.text import format_clock
from bvllm.video import Limits, SamplingPlan, VideoError, VideoInfo, VideoReport, read_video
from bvllm.video.inspection.findings import Finding, container_name, findings_of
from bvllm.video.inspection.packet_stats import PacketStats, packet_stats

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Diagnosis:
    """Facts and findings about one file.

    Attributes:
        path: as given.
        fps: at which it was read.
        info, report, packets: container and codec, counts of the reading, and packet statistics; None where
            `read_video` cannot read the file.
        sizes: (width, height) of the sampled frames, each size once, in order of appearance.
        first, last: seconds of the first and the last frame taken.
        findings: heaviest first.
    """

    path: str
    fps: float
    info: VideoInfo | None
    report: VideoReport | None
    packets: PacketStats | None
    sizes: tuple[tuple[int, int], ...]
    first: float
    last: float
    findings: tuple[Finding, ...]

    @property
    def answerable(self) -> bool:
        """True if `read_video` can read the file, so that a model can answer about it."""
        return self.report is not None

    @property
    def headline(self) -> str:
        """What it is, as `h264 in mp4, 640x360, 10:00`."""
        if self.info is None or self.report is None:
            return "no video that can be read"
        seconds = self.report.seconds
        length = (
            "one picture"
            if self.info.still
            else format_clock(seconds)
            if seconds >= 10
            else f"{seconds:.1f} s"
        )
        size = f"{self.info.width}x{self.info.height}"
        return f"{self.info.codec} in {container_name(self.info)}, {size}, {length}"

    @property
    def rests_on(self) -> str:
        """What an answer would rest on, in a line."""
        if self.report is None:
            return "no answer is possible"
        got, asked = self.report.got, self.report.asked
        frames = f"{got} of {asked} {'frame' if asked == 1 else 'frames'} asked for at {self.fps:g} a second"
        times = f"{format_clock(self.first)} to {format_clock(self.last)}"
        guessed = f", {self.report.substituted} made-up times" if self.report.substituted else ""
        warned = {0: "no warning", 1: "1 warning"}.get(
            len(self.report.warnings), f"{len(self.report.warnings)} warnings"
        )
        return f"{frames}, {times}{guessed}, {warned}"


def examine(
    path: str | Path,
    *,
    fps: float = 1.0,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    progress: Progress | None = None,
) -> Diagnosis:
    """Read a file to its end, as a question about it would, and report what is odd about it.

    Args:
        path: the file.
        fps: frames per second that a question would sample.
        limits: what it may cost.
        progress: called with the number of frames read.

    Raises:
        ValueError: fps is out of range. A fault of the file is reported as a finding, not raised.
    """
    plan = SamplingPlan(fps=fps)
    sizes: dict[tuple[int, int], None] = {}
    seconds: list[float] = [0.0]
    try:
        with read_video(path, plan, limits, chunk=1, decode="all") as video:
            info = video.info
            total = plan.targets(1, info.duration_seconds) if info.duration_seconds else None
            for count, chunk in enumerate(video, start=1):
                sizes[int(chunk.pixels.shape[3]), int(chunk.pixels.shape[2])] = None
                seconds[1:] = chunk.seconds.tolist()
                if progress is not None:
                    progress("read", count, max(total, count) if total else None)
            report = video.report
        packets = packet_stats(path, limits)
    except VideoError as error:
        broken = Finding("broken", error.kind, str(error))
        return Diagnosis(str(path), fps, None, None, None, (), 0.0, 0.0, (broken,))
    findings = findings_of(Path(path), info, report, packets, tuple(sizes))
    return Diagnosis(str(path), fps, info, report, packets, tuple(sizes), seconds[0], seconds[-1], findings)


def as_json(seen: Diagnosis) -> dict[str, object]:
    """A diagnosis as plain numbers, strings and lists."""
    return {
        "path": seen.path,
        "answerable": seen.answerable,
        "findings": [asdict(finding) for finding in seen.findings],
        "answer": None
        if seen.report is None
        else {"fps": seen.fps, "first": seen.first, "last": seen.last, **seen.report.as_json()},
        "video": None if seen.info is None else asdict(seen.info),
        "packets": None if seen.packets is None else seen.packets.summary(),
    }
