"""Choose which frames of a packet map a plan takes, testing only frames that can reach a new target."""

from dataclasses import dataclass

import numpy as np

from .limits import Limits
from .packet_map import PacketMap
from .sampling import TOLERANCE, Picker, SamplingPlan


@dataclass(frozen=True)
class WantedFrames:
    """The frames that the plan takes, chosen before any frame is decoded.

    Args:
        places: of the frames, in the order of display.
        asked: targets reached when the picker took each of them, and at the end.
        end: seconds from the first frame to the end of the last.
        last: place of the last frame that a full decode would reach; decoded as a check even if not taken.
        too_long: `Limits.max_seconds` cuts the video.
    """

    places: tuple[int, ...]
    asked: tuple[int, ...]
    end: float
    last: int
    too_long: bool


def choose_frames(
    packet_map: PacketMap, plan: SamplingPlan, planned: int | None, limits: Limits, period: float
) -> WantedFrames:
    """Run a `Picker` over the frames' times, without decoding.

    Args:
        planned: targets of the whole video, as for `Picker`.
        period: seconds that a frame without a duration is shown.
    """
    picker = Picker(plan, planned)
    within = int(np.searchsorted(packet_map.seconds, limits.max_seconds, side="right"))
    begin = int(np.searchsorted(packet_map.seconds, plan.start - TOLERANCE)) if plan.start else 0
    if plan.end is not None:
        within = min(within, int(np.searchsorted(packet_map.seconds, plan.end - TOLERANCE)))
    too_long = within < len(packet_map) and plan.end is None
    position = (packet_map.seconds[begin:within] - plan.start) * (plan.fps or 1.0)
    reached = np.floor(position + TOLERANCE * (plan.fps or 1.0))
    fresh = np.flatnonzero(np.diff(reached, prepend=-1.0) > 0) if plan.fps else np.arange(len(position))
    places: list[int] = []
    asked: list[int] = []
    for place in (fresh + begin).tolist():
        if picker.take(place, float(packet_map.seconds[place])):
            places.append(place)
            asked.append(picker.asked)
    end = end_of(packet_map, max(within, 1) - 1, limits, period)
    end = end if plan.end is None else min(end, plan.end)
    kept = places[-1:] == [within - 1]
    if picker.close(end, can_stand_in=not kept):
        places.append(within - 1)
        asked.append(picker.asked)
    return WantedFrames(
        tuple(places), (*asked, picker.asked), end, within if too_long else max(within, 1) - 1, too_long
    )


def end_of(packet_map: PacketMap, place: int, limits: Limits, period: float) -> float:
    """When a frame stops being shown, in seconds since the first."""
    lasts = float(int(packet_map.durations[packet_map.shown[place]]) * packet_map.tick)
    return min(float(packet_map.seconds[place]) + (lasts or period), limits.max_seconds)
