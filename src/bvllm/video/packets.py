"""Walk over the packets of a stream once: how long it is, and whether it may be decoded in part."""

from array import array
from dataclasses import dataclass, field
from fractions import Fraction

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream as AvVideoStream

from .bitstream import CODEC_RULES, UNKNOWN, CodecRules
from .decode import Clock
from .limits import Limits

LONGEST = (1 << 31) - 1  # ticks that a frame may last
NEW_SETTINGS = {"new_extradata", "param_change"}


@dataclass
class Packets:
    """The packets of one stream in decoding order, 16 bytes each, while it is walked over.

    Attributes:
        rules: how the codec may be decoded in part; None once a packet rules that out.
        shown: packets that are not hidden by an edit list.
        pts, durations, sizes: one each, empty where `rules` is None.
        entries: numbers of the packets that are key frames and entries (see `bitstream.PacketInfo`).
        layered: some picture lies in a higher layer.
        reorders: some picture is, or may be, a B picture (see `bitstream.PacketInfo`).
        whole: `walk` read the stream to its end.
    """

    rules: CodecRules | None
    extra: bytes = b""
    shown: int = 0
    first: int | None = None
    last: int | None = None
    pts: "array[int]" = field(default_factory=lambda: array("q"))
    durations: "array[int]" = field(default_factory=lambda: array("i"))
    sizes: "array[int]" = field(default_factory=lambda: array("i"))
    entries: "array[int]" = field(default_factory=lambda: array("q"))
    layered: bool = False
    reorders: bool = False
    whole: bool = False
    _dts: int | None = None
    _latest: int | None = None
    _settings: bytes | None = None

    def add(self, packet: "Packet[AvVideoStream]") -> None:
        """Count and record the next packet that holds data."""
        pts = packet.pts
        if not packet.is_discard:
            self.shown += 1
            if pts is not None:
                self.first = pts if self.first is None else min(self.first, pts)
                self.last = pts if self.last is None else max(self.last, pts)
        rules, self.rules = self.rules, None
        lasts = packet.duration or 0
        if rules is None or pts is None or not 0 <= lasts <= LONGEST:
            return
        if not (self._sound(packet, pts) and self._plain(packet, pts, rules)):
            return
        self.rules = rules
        self.pts.append(pts)
        self.durations.append(lasts)
        self.sizes.append(packet.size)

    def seconds(self, period: float, tick: Fraction) -> float:
        """Length of what is shown, by the packets' own times; `period` is that of one frame."""
        if self.first is None or self.last is None:
            return self.shown * period
        clocked = float((self.last - self.first) * tick)
        return clocked + period if clocked else self.shown * period

    def _sound(self, packet: "Packet[AvVideoStream]", pts: int) -> bool:
        """True if flags and decoding times are regular; formats without decoding times give None at first."""
        dts, before = packet.dts, self._dts
        if dts is None:
            ordered = before is None
        else:
            ordered = (before is None or dts > before) and dts <= pts
            self._dts = dts
        new = any(data.data_type in NEW_SETTINGS for data in packet.iter_sidedata())
        strange = packet.is_discard or packet.is_corrupt or new
        return ordered and not strange

    def _plain(self, packet: "Packet[AvVideoStream]", pts: int, rules: CodecRules) -> bool:
        """True if the parser knows the form and parameter sets are the first ones: a seek may skip any.

        Where B pictures are known, only they may be shown before a picture that was decoded earlier: else the
        times are damaged, and the decoder's order is another than theirs.
        """
        try:
            info = rules.parse_packet(bytes(packet), self.extra)
        except IndexError:
            info = UNKNOWN
        if self._settings is None:
            self._settings = info.settings
        if info.entry and packet.is_keyframe:
            self.entries.append(len(self.pts))
        self.layered = self.layered or info.layered
        self.reorders = self.reorders or info.reorders
        late = self._latest is not None and pts < self._latest
        self._latest = pts if self._latest is None else max(pts, self._latest)
        if rules.tells_b and late != info.reorders:
            return False
        return info.known and (not info.settings or info.settings == self._settings)


def walk(
    container: InputContainer,
    stream: AvVideoStream,
    limits: Limits,
    clock: Clock,
    *,
    measured: bool,
    partly: bool,
) -> Packets:
    """Demuxes a stream without decoding it; a few microseconds a packet.

    Args:
        measured: the caller needs the length even where the stream cannot be decoded in part; without it the
            walk ends at the first packet that rules that out.
        partly: the caller would decode in part; without it no packet is parsed.
    """
    context = stream.codec_context
    packets = Packets(CODEC_RULES.get(context.name) if partly else None, bytes(context.extradata or b""))
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            packets.add(packet)
            out_of_time = clock.seconds() > limits.max_wall_seconds
            if out_of_time or packets.shown >= limits.max_decoded_frames:
                return packets
            if packets.rules is None and not measured:
                return packets
        packets.whole = True
    except (av.FFmpegError, IndexError):
        pass  # FFmpeg cannot read further: decoding will stop there as well, and report it
    return packets
