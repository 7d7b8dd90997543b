"""Write evidence as one picture: for a slide, a chat or a terminal that shows images."""

import io
import math
import textwrap
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bvllm.common.text import format_clock
from bvllm.inference.evidence.contact_sheet import ContactSheet, Tile
from bvllm.inference.evidence.heatmap import paint

INK, SOFT, PAGE, LINE, MARK = "#1b1b1f", "#5c5c66", "#fbfaf8", "#d4d0c8", "#b3401f"
MARGIN, GAP, CAPTION, TIMELINE = 24, 14, 40, 56
NARROWEST_SHEET = 720
MOST_COLUMNS = 8
WORD_SPACE = 0.28  # of the font's size
RAMP_WIDTH = 96
LONG_ANSWER = 80  # characters; longer ones are set smaller


def as_png(sheet: ContactSheet) -> bytes:
    """The sheet: doubts, question, answer, cost, timeline, then the frames in rows with their heat maps."""
    tile_width, tile_height = (max(tile.picture.size[side] for tile in sheet.tiles) for side in (0, 1))
    columns = min(
        MOST_COLUMNS,
        len(sheet.tiles),
        max(2, math.ceil(math.sqrt(len(sheet.tiles) * tile_height / tile_width * 1.6))),
    )
    width = max(NARROWEST_SHEET, 2 * MARGIN + columns * (tile_width + GAP) - GAP)
    above, below = _lines(_blocks(sheet), width - 2 * MARGIN), _lines(_legend(sheet), width - 2 * MARGIN)
    timeline = 0 if sheet.duration is None else GAP + TIMELINE + 18
    tiles_top = MARGIN + _height(above) + timeline + GAP + _height(below)
    rows = math.ceil(len(sheet.tiles) / columns)
    canvas = Image.new("RGB", (width, tiles_top + rows * (tile_height + CAPTION + GAP) + MARGIN - GAP), PAGE)
    draw = ImageDraw.Draw(canvas)
    y = _write_lines(draw, above, MARGIN)
    if sheet.duration is not None:
        _timeline(draw, sheet, sheet.duration, (MARGIN, y + GAP, width - MARGIN, y + GAP + TIMELINE))
    y = _write_lines(draw, below, y + timeline + GAP // 2)
    if any(tile.heat is not None for tile in sheet.tiles):
        _ramp(canvas, (width - MARGIN, tiles_top - GAP // 2 - 14))
    for place, tile in enumerate(sheet.tiles):
        corner = (
            MARGIN + place % columns * (tile_width + GAP),
            tiles_top + place // columns * (tile_height + CAPTION + GAP),
        )
        _tile(canvas, draw, tile, corner, tile_width)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


class _Line(NamedTuple):
    text: str
    size: int
    colour: str

    @property
    def height(self) -> int:
        return round(self.size * 1.5)


def _blocks(sheet: ContactSheet) -> list[_Line]:
    """Everything above the timeline."""
    options = [
        _Line(f"{letter}. {option}", 15, MARK if letter == sheet.letter else SOFT)
        for letter, option in sheet.options
    ]
    return [
        *([_Line(sheet.doubt, 15, MARK)] if sheet.doubt else []),
        _Line(sheet.question, 16, INK),
        *options,
        _Line(sheet.answer, 26 if len(sheet.answer) <= LONG_ANSWER else 18, INK),
        *([_Line(f"in its own words: {sheet.own_words}", 14, SOFT)] if sheet.own_words else []),
        _Line(sheet.cost, 14, SOFT),
        *(_Line(f"note: {note}", 14, SOFT) for note in sheet.notes),
    ]


def _legend(sheet: ContactSheet) -> list[_Line]:
    """What the words and the colours on the frames mean."""
    lines = [_Line(sheet.explained, 12, SOFT)] if sheet.explained else []
    if any(tile.heat is not None for tile in sheet.tiles):
        lines.append(_Line(f"colours: {sheet.colours}", 12, SOFT))
    return lines


def _lines(blocks: list[_Line], width: int) -> list[_Line]:
    """Blocks broken into lines that fit."""
    return [
        block._replace(text=line)
        for block in blocks
        for paragraph in block.text.splitlines() or [""]
        for line in textwrap.wrap(paragraph, max(20, int(width / (block.size * 0.55)))) or [""]
    ]


def _height(lines: list[_Line]) -> int:
    return sum(line.height for line in lines)


def _write_lines(draw: ImageDraw.ImageDraw, lines: list[_Line], y: int) -> int:
    """Write lines below one another; where the next one begins."""
    for line in lines:
        _write(draw, (MARGIN, y), line.text, line.size, line.colour)
        y += line.height
    return y


def _write(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, colour: str) -> None:
    """Write word by word: Pillow's own font rounds its spaces to too few pixels."""
    x, y = place
    font = ImageFont.load_default(size)
    for word in text.split(" "):
        draw.text((x, y), word, fill=colour, font=font)
        x += draw.textlength(word, font=font) + WORD_SPACE * size


def _text_length(draw: ImageDraw.ImageDraw, text: str, size: int) -> float:
    font = ImageFont.load_default(size)
    words = text.split(" ")
    return sum(draw.textlength(word, font=font) for word in words) + WORD_SPACE * size * (len(words) - 1)


def _ramp(canvas: Image.Image, corner: tuple[int, int]) -> None:
    """The heat map's colours from less to more, ending at a point on the right."""
    right, top = corner
    draw = ImageDraw.Draw(canvas)
    left = right - RAMP_WIDTH - 36
    shades = np.linspace(0.0, 1.0, RAMP_WIDTH, dtype=np.float32)[None].repeat(10, axis=0)
    bar = Image.alpha_composite(Image.new("RGBA", (RAMP_WIDTH, 10), PAGE), paint(shades, (RAMP_WIDTH, 10)))
    canvas.paste(bar.convert("RGB"), (left, top + 3))
    _write(draw, (left - 28, top), "less", 12, SOFT)
    _write(draw, (right - 30, top), "more", 12, SOFT)


def _timeline(
    draw: ImageDraw.ImageDraw, sheet: ContactSheet, duration: float, box: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = box
    peak = max(sheet.curve, default=0.0)
    for k, value in enumerate(sheet.curve if peak else ()):
        from_x, to_x = (left + (right - left) * i // len(sheet.curve) for i in (k, k + 1))
        height = round((bottom - top) * value / peak)
        if height:
            draw.rectangle((from_x, bottom - height, max(from_x, to_x - 1), bottom), fill=LINE)
    for tile in sheet.tiles:
        x = left + (right - left) * min(tile.seconds / duration, 1.0)
        draw.line((x, (top + bottom) // 2, x, bottom), fill=MARK, width=2)
    draw.line((left, bottom, right, bottom), fill=SOFT)
    font = ImageFont.load_default(13)
    draw.text((left, bottom + 3), "00:00", fill=SOFT, font=font)
    draw.text((right, bottom + 3), format_clock(duration), fill=SOFT, font=font, anchor="ra")


def _tile(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, corner: tuple[int, int], width: int
) -> None:
    picture = tile.picture.convert("RGBA")
    if tile.heat is not None:
        picture = Image.alpha_composite(picture, paint(tile.heat, picture.size))
    canvas.paste(picture.convert("RGB"), corner)
    x, y = corner[0], corner[1] + tile.picture.height
    _write(draw, (x, y + 3), tile.clock, 16, INK)
    reason = tile.reason
    while _text_length(draw, reason, 12) > width and len(reason) > 1:
        reason = reason[:-2] + "…"
    _write(draw, (x, y + 22), reason, 12, SOFT)
