"""Write evidence as one picture: for a slide, a chat or a terminal that shows images."""

import io
import math
import textwrap

from PIL import Image, ImageDraw, ImageFont

from bvllm.common.text import format_clock
from bvllm.inference.evidence.contact_sheet import ContactSheet, Tile
from bvllm.inference.evidence.heatmap import paint

INK, SOFT, PAGE, LINE, MARK = "#1b1b1f", "#5c5c66", "#fbfaf8", "#d4d0c8", "#b3401f"
MARGIN, GAP, CAPTION, TIMELINE = 24, 14, 40, 56
NARROWEST_SHEET = 720
MOST_COLUMNS = 8
LONG_ANSWER = 80  # characters; longer ones are set smaller


def as_png(sheet: ContactSheet) -> bytes:
    """The sheet: question, answer, cost, timeline, then the frames in rows with their heat maps."""
    tile_width, tile_height = (max(tile.picture.size[side] for tile in sheet.tiles) for side in (0, 1))
    columns = min(
        MOST_COLUMNS,
        len(sheet.tiles),
        max(2, math.ceil(math.sqrt(len(sheet.tiles) * tile_height / tile_width * 1.6))),
    )
    width = max(NARROWEST_SHEET, 2 * MARGIN + columns * (tile_width + GAP) - GAP)
    lines = _lines(sheet, width - 2 * MARGIN)
    top = MARGIN + sum(height for *_, height in lines)
    rows = math.ceil(len(sheet.tiles) / columns)
    tiles_top = top + GAP + (0 if sheet.duration is None else TIMELINE + GAP + 18)
    canvas = Image.new("RGB", (width, tiles_top + rows * (tile_height + CAPTION + GAP) + MARGIN - GAP), PAGE)
    draw = ImageDraw.Draw(canvas)
    y = MARGIN
    for text, size, colour, height in lines:
        draw.text((MARGIN, y), text, fill=colour, font=ImageFont.load_default(size))
        y += height
    if sheet.duration is not None:
        box = (MARGIN, top + GAP, width - MARGIN, top + GAP + TIMELINE)
        _timeline(draw, sheet, sheet.duration, box)
    for place, tile in enumerate(sheet.tiles):
        corner = (
            MARGIN + place % columns * (tile_width + GAP),
            tiles_top + place // columns * (tile_height + CAPTION + GAP),
        )
        _tile(canvas, draw, tile, corner, tile_width)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def _lines(sheet: ContactSheet, width: int) -> list[tuple[str, int, str, int]]:
    """(text, font size, colour, line height) of everything above the timeline."""
    options = [
        (f"{letter}. {option}", 15, MARK if letter == sheet.letter else SOFT)
        for letter, option in sheet.options
    ]
    blocks = [
        (sheet.question, 16, INK),
        *options,
        (sheet.answer, 26 if len(sheet.answer) <= LONG_ANSWER else 18, INK),
        (sheet.cost, 14, SOFT),
        *((f"note: {note}", 14, SOFT) for note in sheet.notes),
    ]
    return [
        (line, size, colour, round(size * 1.5))
        for text, size, colour in blocks
        for paragraph in text.splitlines() or [""]
        for line in textwrap.wrap(paragraph, max(20, int(width / (size * 0.55)))) or [""]
    ]


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
    draw.text((x, y + 3), tile.clock, fill=INK, font=ImageFont.load_default(16))
    font, reason = ImageFont.load_default(12), tile.reason
    while draw.textlength(reason, font=font) > width and len(reason) > 1:
        reason = reason[:-2] + "…"
    draw.text((x, y + 22), reason, fill=SOFT, font=font)
