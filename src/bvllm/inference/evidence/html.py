"""Write evidence as one self-contained page: pictures inside, no script, nothing fetched."""

import base64
import io
from html import escape
from importlib.resources import files
from string import Template

from PIL import Image

from bvllm.common.text import format_clock
from bvllm.inference.evidence.contact_sheet import ContactSheet, Tile
from bvllm.inference.evidence.heatmap import RAMP, paint

JPEG_QUALITY = 85
HEAT_SIZE = (64, 48)  # the browser smooths it over the picture; heat maps are far coarser than this


def as_html(sheet: ContactSheet) -> bytes:
    """The page, UTF-8. Whatever the user or the model wrote is escaped."""
    page = Template(files("bvllm.inference.evidence").joinpath("evidence.html").read_text(encoding="utf-8"))
    text = page.substitute(
        title=escape(f"{sheet.answer} - {sheet.question}"),
        question=escape(sheet.question),
        options=_options(sheet),
        doubt=f'<p class="doubt">{escape(sheet.doubt)}</p>' if sheet.doubt else "",
        answer=escape(sheet.answer),
        own_words=f'<p class="own">in its own words: {escape(sheet.own_words)}</p>'
        if sheet.own_words
        else "",
        cost=escape(sheet.cost),
        notes="\n".join(f'<p class="note">{escape(note)}</p>' for note in sheet.notes),
        timeline="" if sheet.duration is None else _timeline(sheet, sheet.duration),
        ramp=", ".join(f"rgb({r:.0f} {g:.0f} {b:.0f})" for r, g, b in RAMP),
        controls=_controls(sheet),
        explained=f'<p class="legend">{escape(sheet.explained)}</p>' if sheet.explained else "",
        tiles="\n".join(_figure(tile, place) for place, tile in enumerate(sheet.tiles)),
    )
    return text.encode("utf-8", errors="replace")


def _options(sheet: ContactSheet) -> str:
    if not sheet.options:
        return ""
    rows = (
        f'<li class="chosen">{escape(option)} (chosen)</li>'
        if letter == sheet.letter
        else f"<li>{escape(option)}</li>"
        for letter, option in sheet.options
    )
    return "<ol>\n" + "\n".join(rows) + "\n</ol>"


def _controls(sheet: ContactSheet) -> str:
    if all(tile.heat is None for tile in sheet.tiles):
        return ""
    return (
        '<div class="controls legend"><label><input type="checkbox" id="heat" checked> '
        f"show {sheet.colours}</label>"
        '<span>less <span class="ramp"></span> more</span></div>'
    )


def _figure(tile: Tile, place: int) -> str:
    """One frame; a click on its picture enlarges it, without a script: the picture labels a check box."""
    picture = _data_url(tile.picture, "JPEG")
    heat = (
        f'<img class="heat" alt="" src="{_data_url(paint(tile.heat, HEAT_SIZE), "PNG")}">'
        if tile.heat is not None
        else ""
    )
    width, height = tile.picture.size
    alt = (
        f"Frame at {tile.clock}, with a heat map of where the model looked"
        if heat
        else f"Frame at {tile.clock}"
    )
    return (
        f'<figure><input type="checkbox" id="large{place}" class="large" aria-label="enlarge">'
        f'<label class="picture" for="large{place}">'
        f'<img width="{width}" height="{height}" alt="{alt}" src="{picture}">{heat}</label>'
        f'<figcaption><time datetime="PT{tile.seconds:.3f}S">{tile.clock}</time> '
        f"<span>frame {tile.index}</span> <span>{escape(tile.reason)}</span></figcaption></figure>"
    )


def _timeline(sheet: ContactSheet, duration: float) -> str:
    end, times = format_clock(duration), ", ".join(tile.clock for tile in sheet.tiles)
    label = f"Timeline from 00:00 to {end} with the chosen frames at {times}"
    ticks = "\n".join(_tick(tile, duration) for tile in sheet.tiles)
    return (
        '<svg class="timeline" viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">\n{_curve(sheet.curve)}\n{ticks}\n</svg>\n'
        f'<div class="ends legend"><span>00:00</span><span>{end}</span></div>'
    )


def _curve(curve: tuple[float, ...]) -> str:
    """A filled line: how strongly the selection wanted each stretch of the video."""
    if not curve or not max(curve):
        return ""
    step, top = 1000 / len(curve), max(curve)
    points = " ".join(
        f"L{k * step:.1f} {100 - 95 * v / top:.1f}H{(k + 1) * step:.1f}" for k, v in enumerate(curve)
    )
    return f'<path d="M0 100{points}V100Z"/>'


def _tick(tile: Tile, duration: float) -> str:
    x = 1000 * min(tile.seconds / duration, 1.0)
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="55" y2="100"><title>{tile.clock}</title></line>'


def _data_url(picture: Image.Image, kind: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=JPEG_QUALITY, optimize=True)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
