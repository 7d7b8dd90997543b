"""Hand decoding to another process where the program started one; see `isolation`."""

import json
import socket
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from .frame_map import FrameMap
from .limits import Limits
from .sampling import SamplingPlan
from .wire import receive, receive_arrays, say_with_arrays

if TYPE_CHECKING:
    from .inspection.packet_stats import PacketStats
    from .reader import VideoStream


@dataclass(frozen=True)
class Job:
    """What a worker does with a file: what `read_video`, `fetch_frames` or `packet_stats` was asked for."""

    limits: Limits
    plan: SamplingPlan = SamplingPlan()  # noqa: RUF009 - frozen
    size: tuple[int, int] | None = None
    chunk: int = 1
    threads: int = 1
    decode: str = "auto"
    first: int = 0
    wanted: tuple[int, ...] | None = None
    packets: bool = False
    frame_map: FrameMap | None = None


def send_job(channel: socket.socket, job: Job) -> None:
    """Tell a worker what to do."""
    settings = {
        f.name: getattr(job, f.name) for f in fields(job) if f.name not in ("limits", "plan", "frame_map")
    }
    limits = {**asdict(job.limits), "root": None}  # what lies where was checked when the file was opened
    arrays = None if job.frame_map is None else job.frame_map.to_arrays()
    say_with_arrays(channel, arrays, job=settings, limits=limits, plan=asdict(job.plan))


def receive_job(channel: socket.socket) -> Job:
    """What `send_job` sent; the program is trusted, its worker is not."""
    said = json.loads(receive(channel))
    arrays = None if said["arrays"] is None else receive_arrays(channel, said["arrays"])
    settings = said["job"]
    for name in ("size", "wanted"):
        settings[name] = None if settings[name] is None else tuple(settings[name])
    frame_map = None if arrays is None else FrameMap.from_arrays(arrays)
    return Job(Limits(**said["limits"]), SamplingPlan(**said["plan"]), frame_map=frame_map, **settings)


class Decoder(Protocol):
    """What decodes files in place of this process."""

    def read(self, path: str | Path, job: Job) -> "VideoStream":
        """`read_video`; errors as for it."""
        ...

    def packets(self, path: str | Path, job: Job) -> "PacketStats":
        """`packet_stats`; errors as for it."""
        ...

    def fetch(self, path: str | Path, job: Job) -> Tensor:
        """`fetch_frames`; errors as for it."""
        ...


_decoder: Decoder | None = None


def decode_in(decoder: Decoder | None) -> None:
    """Let `read_video` and `fetch_frames` hand paths to a decoder from now on; None decodes here."""
    global _decoder
    _decoder = decoder


def decoding_process() -> Decoder | None:
    """What decodes paths; None where this process does."""
    return _decoder
