"""Parse the first bytes of a packet: may decoding begin here, and does it bring new settings?

Containers mark key frames, but decoding cannot begin at every marked one, so we parse the picture's own
headers. Streams of codecs that are not in `CODEC_RULES` are always decoded whole.

Sources: ITU-T H.264 7.3.1, H.265 7.3.1, H.262 6.2; ISO 14496-2 6.2; VP9 and AV1 bitstream specifications.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

START_CODE = b"\0\0\1"
PREFIX_SEI, FILM_GRAIN = 39, 19  # H.265, tables 7-1 and D.2.1


@dataclass(frozen=True)
class PacketInfo:
    """What the headers in one packet say about decoding.

    Args:
        known: our parser supports the packet's form; if False, the other fields mean nothing.
        entry: no picture after it in decoding order and in display order needs any before it.
        settings: the parameter sets or headers in it, which hold until the next ones.
        layered: a higher layer may refer to pictures that no picture of their own layer refers to.
        reorders: the picture is a B picture, or may be one: usually shown before a picture decoded earlier.
    """

    known: bool = True
    entry: bool = False
    settings: bytes = b""
    layered: bool = False
    reorders: bool = False


UNKNOWN = PacketInfo(known=False)
PLAIN, ENTRY, BETWEEN = PacketInfo(), PacketInfo(entry=True), PacketInfo(reorders=True)
PacketParser = Callable[[bytes, bytes], PacketInfo]


@dataclass(frozen=True)
class CodecRules:
    """How a codec may be decoded in part.

    Args:
        parse_packet: (packet, codec's extra data) -> PacketInfo.
        nonref: FFmpeg can skip pictures that no other picture refers to, and still decodes the others alike.
        leading: an entry may be followed by pictures that are shown before it and need what came before it.
        tells_b: B pictures are told from others, so that `PacketInfo.reorders` is exact.
    """

    parse_packet: PacketParser
    nonref: bool
    leading: bool
    tells_b: bool = False


def h264(data: bytes, extra: bytes) -> PacketInfo:
    """Entries are IDR pictures; no other I picture cuts all references. One picture to a packet."""
    settings = b""
    found: PacketInfo | None = None
    for unit in _units(data, extra[4] & 3 if extra[:1] == b"\1" and len(extra) > 4 else None):
        kind = data[unit.start] & 31
        if kind in (7, 8, 13, 15):
            if found is not None:
                return UNKNOWN  # settings of the next picture
            settings += data[unit].rstrip(b"\0")
        elif kind in (1, 5):
            begins = data[unit.start + 1] >= 0x80  # first_mb_in_slice is 0
            if begins != (found is None):
                return UNKNOWN  # a second picture, or one whose beginning is missing
            if found is None:
                found = _h264_picture(kind == 5, data[unit.start + 1])
        elif 2 <= kind <= 4:
            return UNKNOWN
    if found is None:
        return UNKNOWN
    return replace(found, settings=settings) if settings else found


def _h264_picture(entry: bool, byte: int) -> PacketInfo:
    """The first byte of a slice header: first_mb_in_slice is 0 (a one), then slice_type, 1 or 6 for B."""
    if entry:
        return ENTRY
    return BETWEEN if byte & 0x70 == 0x20 or byte & 0x7C == 0x1C else PLAIN


def hevc(data: bytes, extra: bytes) -> PacketInfo:
    """Entries are IDR, CRA and BLA pictures; pictures that lead a CRA are decoded with the group before it.

    Finding B pictures would need the parameter sets, so we report every picture as one that may reorder. The
    decoder seeds film grain with a number that a jump to a CRA changes, so we report such packets as unknown.
    """
    settings = b""
    found: PacketInfo | None = None
    for unit in _units(data, extra[21] & 3 if extra[:1] == b"\1" and len(extra) > 21 else None):
        if unit.stop - unit.start < 2:
            return UNKNOWN
        kind, layer = data[unit.start] >> 1 & 63, (data[unit.start] & 1) << 5 | data[unit.start + 1] >> 3
        if kind in (32, 33, 34):
            if found is not None:
                return UNKNOWN
            settings += data[unit].rstrip(b"\0")
        elif kind == PREFIX_SEI and FILM_GRAIN in _sei_kinds(data[unit.start + 2 : unit.stop]):
            return UNKNOWN
        elif kind < 32 and not layer:
            begins = data[unit.start + 2] >= 0x80  # first_slice_segment_in_pic_flag
            if begins != (found is None):
                return UNKNOWN
            layered = data[unit.start + 1] & 7 != 1
            found = found or PacketInfo(True, 16 <= kind <= 21, b"", layered, reorders=True)
    if found is None:
        return UNKNOWN
    return replace(found, settings=settings) if settings else found


def _sei_kinds(data: bytes) -> list[int]:
    """Types of the messages in a unit of supplemental information (H.265 7.3.5)."""
    data, at, kinds = data.replace(b"\0\0\3", b"\0\0"), 0, []
    while at + 2 < len(data):
        numbers = []
        for _ in range(2):  # type, then length
            number = 0
            while at < len(data) and data[at] == 255:
                number, at = number + 255, at + 1
            number, at = number + (data[at] if at < len(data) else 0), at + 1
            numbers.append(number)
        kinds.append(numbers[0])
        at += numbers[1]
    return kinds


def mpeg2(data: bytes, extra: bytes) -> PacketInfo:
    """Entries are I pictures behind a sequence header, which puts the quantiser matrices back."""
    settings, picture = b"", None
    for unit in _units(data, None):
        code = data[unit.start]
        extension = data[unit.start + 1] >> 4 if code == 0xB5 and unit.stop > unit.start + 1 else 0
        if picture is None and code in (0xB3, 0xB5):
            settings += data[unit].rstrip(b"\0")
        elif code == 0:
            if picture is not None or unit.stop < unit.start + 3:
                return UNKNOWN
            picture = data[unit.start + 2] >> 3 & 7
        elif extension == 3 or (extension == 8 and data[unit.start + 3] & 3 != 3):
            return UNKNOWN  # own matrices, or a single field
        elif 1 <= code <= 0xAF and picture is not None:
            return PacketInfo(True, picture == 1 and settings[:1] == b"\xb3", settings, reorders=picture == 3)
    return UNKNOWN


def mpeg4(data: bytes, extra: bytes) -> PacketInfo:
    """Entries are I pictures; one picture to a packet, since DivX packs two."""
    settings = b""
    for unit in _units(data, None):
        code = data[unit.start]
        if code == 0xB2 or 0x20 <= code <= 0x2F:
            settings += data[unit].rstrip(b"\0")
        elif code == 0xB6:
            packed = data.find(START_CODE + b"\xb6", unit.start) >= 0
            kind = data[unit.start + 1] >> 6
            return UNKNOWN if packed else PacketInfo(True, kind == 0, settings, reorders=kind == 2)
    return UNKNOWN


def vp9(data: bytes, extra: bytes) -> PacketInfo:
    """Entries are key frames that are shown; they fill every slot for references."""
    first = data[0]
    if first >> 6 != 2 or first >> 4 & 3 == 3:
        return UNKNOWN
    return ENTRY if first & 0b1110 == 0b0010 else PLAIN


def av1(data: bytes, extra: bytes) -> PacketInfo:
    """Entries are key frames that are shown, behind a sequence header."""
    at, settings = 0, b""
    while at < len(data):
        kind, extended, sized = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
        body = at + 1 + extended
        length, shift = (0, 0) if sized else (len(data) - body, 0)
        while sized and body < len(data):
            length |= (data[body] & 127) << shift
            shift, body = shift + 7, body + 1
            if data[body - 1] < 128 or shift > 56:
                break
        if body >= len(data) and kind != 2:
            return UNKNOWN
        if kind == 1:
            settings += data[body : body + length]
        elif kind in (3, 6):
            reduced = bool(settings and settings[0] >> 3 & 1)
            key = data[body] >> 4 == 0b0001  # not shown before, a key frame, shown
            return UNKNOWN if reduced else PacketInfo(True, key and bool(settings), settings)
        at = body + length
    return UNKNOWN


def _units(data: bytes, prefix: int | None) -> Iterator[slice]:
    """Places of the units in a packet, without what separates them; `prefix` + 1 bytes of length, or codes.

    With start codes the zeros before the next one stay at the end of a unit.
    """
    if prefix is None:
        at = data.find(START_CODE)
        while at >= 0 and at + 3 < len(data):
            after = data.find(START_CODE, at + 3)
            yield slice(at + 3, after if after >= 0 else len(data))
            at = after
        return
    at, width = 0, prefix + 1
    while at + width < len(data):
        start = at + width
        at = start + int.from_bytes(data[at:start], "big")
        if start < at <= len(data):
            yield slice(start, at)


CODEC_RULES: dict[str, CodecRules] = {
    "h264": CodecRules(h264, nonref=True, leading=False, tells_b=True),
    "hevc": CodecRules(hevc, nonref=True, leading=True),
    "mpeg2video": CodecRules(mpeg2, nonref=True, leading=True, tells_b=True),
    "mpeg4": CodecRules(mpeg4, nonref=True, leading=True, tells_b=True),
    "vp9": CodecRules(
        vp9, nonref=False, leading=False
    ),  # a skipped frame would leave its probabilities behind
    "av1": CodecRules(av1, nonref=False, leading=False),  # dav1d takes the setting only when it is opened
    "libdav1d": CodecRules(av1, nonref=False, leading=False),
}
