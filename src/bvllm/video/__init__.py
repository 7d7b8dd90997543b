"""Read files, bytes and pictures as frames with true seconds: streamed, safely.

Imports nothing from the rest of the package. See docs/video.md.
"""

from .errors import KINDS, Kind, VideoError
from .fetch import fetch_frames
from .frame_map import FrameMap
from .frames import FrameChunk, FrameList
from .growing import Abandoned, GrowingFile
from .limits import LOCAL_LIMITS, PATIENT, Limits
from .read_warnings import WARNING_KINDS, VideoWarning, WarningKind
from .reader import Source, VideoStream, probe, read_video
from .report import VideoInfo, VideoReport
from .safe_open import check_readable
from .sampling import SamplingPlan

__all__ = [
    "KINDS",
    "LOCAL_LIMITS",
    "PATIENT",
    "WARNING_KINDS",
    "Abandoned",
    "FrameChunk",
    "FrameList",
    "FrameMap",
    "GrowingFile",
    "Kind",
    "Limits",
    "SamplingPlan",
    "Source",
    "VideoError",
    "VideoInfo",
    "VideoReport",
    "VideoStream",
    "VideoWarning",
    "WarningKind",
    "check_readable",
    "fetch_frames",
    "probe",
    "read_video",
]
