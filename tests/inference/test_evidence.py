"""Evidence: one self-contained file that shows the chosen frames, their times and where the model looked."""

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from bvllm.inference.ask import answer, encode_video
from bvllm.inference.evidence.contact_sheet import CURVE_POINTS, contact_sheet
from bvllm.inference.evidence.html import as_html
from bvllm.inference.evidence.png import as_png
from bvllm.inference.evidence.write import check_evidence_path, write_evidence
from bvllm.video import VideoWarning

NASTY = "<script>alert('x')</script> & \"which\" $question ?"


@pytest.fixture(scope="module")
def encoded(video, loaded):
    return encode_video(video, loaded)


@pytest.fixture(scope="module")
def given(encoded, loaded):
    return answer(encoded, NASTY, loaded, options=["<b>red</b>", "blue"], max_new_tokens=4)


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input", "path", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in ("line", "path"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def picture_of(source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(source.partition("base64,")[2])))


def test_the_sheet_holds_what_was_chosen_in_the_videos_own_shape(encoded, given):
    sheet = contact_sheet(encoded, given)
    assert [(t.index, t.seconds) for t in sheet.tiles] == [tuple(f)[:2] for f in given.frames]
    assert sheet.tiles[0].reason.endswith(f" of 4 votes, weight {given.frames[0].score:.2f}")
    assert all(t.picture.width / t.picture.height == pytest.approx(96 / 64, rel=0.02) for t in sheet.tiles)
    assert all(t.heat.shape == (4, 4) and t.heat.max() == 1 for t in sheet.tiles)
    assert sum(int(t.reason.split()[0]) for t in sheet.tiles) == 4
    shown = np.asarray(sheet.tiles[0].picture.resize((16, 16), Image.Resampling.BOX), dtype=float)
    stored = encoded.store.get([given.frames[0].index])[0].permute(1, 2, 0).numpy().astype(float)
    assert np.abs(shown - stored).mean() < 12
    assert 0 < len(sheet.curve) <= CURVE_POINTS
    assert max(sheet.curve) == pytest.approx(max(f.score for f in given.frames), abs=1e-3)


def test_the_page_is_whole_escaped_and_fetches_nothing(encoded, given):
    html = as_html(contact_sheet(encoded, given)).decode()
    page = Page(html)
    assert page.open == []
    assert "script" not in {tag for tag, _ in page.tags}
    assert "b" not in {tag for tag, _ in page.tags}
    text = "".join(page.words)
    assert NASTY in text
    assert "<b>red</b>" in text
    assert given.text in text
    links = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href")]
    assert links
    assert all(link.startswith("data:image/") for link in links)
    assert "url(" not in html
    assert "@import" not in html
    assert "prefers-color-scheme: dark" in html


def test_every_frame_has_its_picture_its_heat_map_its_time_and_words_for_it(encoded, given):
    page = Page(as_html(contact_sheet(encoded, given)).decode())
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    frames = [attrs for attrs in images if attrs.get("class") != "heat"]
    heats = [attrs for attrs in images if attrs.get("class") == "heat"]
    assert len(frames) == len(heats) == len(given.frames)
    clocks = [f"00:{frame.seconds:02.0f}" for frame in given.frames]
    assert [attrs["alt"][: len("Frame at 00:00")] for attrs in frames] == [f"Frame at {c}" for c in clocks]
    assert [attrs["alt"] for attrs in heats] == [""] * len(heats)
    assert [w for w in page.words if re.fullmatch(r"00:\d\d", w) and w != "00:00"].count(clocks[-1]) >= 1
    for frame, heat in zip(frames, heats):
        assert picture_of(frame["src"]).size == (int(frame["width"]), int(frame["height"]))
        assert np.asarray(picture_of(heat["src"]))[..., 3].any()


def test_notes_about_the_video_are_shown(encoded, given):
    warnings = (VideoWarning("short", "cut <short>"),)
    odd = dataclasses.replace(encoded, report=dataclasses.replace(encoded.report, warnings=warnings))
    html = as_html(contact_sheet(odd, given)).decode()
    assert "short: cut &lt;short&gt;" in html
    assert len(as_png(contact_sheet(odd, given))) > 1000


def test_the_chosen_option_is_marked(encoded, given):
    html = as_html(contact_sheet(encoded, dataclasses.replace(given, letter="B"))).decode()
    assert '<li class="chosen">blue (chosen)</li>' in html
    assert "<li>&lt;b&gt;red&lt;/b&gt;</li>" in html


def test_without_attention_there_is_no_heat_and_no_switch_for_it(encoded, given):
    sheet = contact_sheet(encoded, given)
    bare = dataclasses.replace(sheet, tiles=tuple(dataclasses.replace(t, heat=None) for t in sheet.tiles))
    html = as_html(bare).decode()
    assert 'class="heat"' not in html
    assert 'id="heat"' not in html
    assert as_png(bare) != as_png(sheet)


def test_evenly_spaced_frames_have_no_curve(encoded, loaded):
    sheet = contact_sheet(encoded, answer(encoded, "which ?", loaded, select="uniform"))
    assert sheet.curve == ()
    assert {t.reason for t in sheet.tiles} == {"evenly spaced"}
    assert "<path" not in as_html(sheet).decode()


def test_the_picture_shows_the_heat_of_every_tile(encoded, given):
    sheet = contact_sheet(encoded, given)
    whole = as_png(sheet)
    for k, tile in enumerate(sheet.tiles):
        cold = dataclasses.replace(tile, heat=tile.heat * 0)
        assert (
            as_png(dataclasses.replace(sheet, tiles=sheet.tiles[:k] + (cold,) + sheet.tiles[k + 1 :]))
            != whole
        )


def test_long_words_do_not_run_out_of_the_picture(encoded, given):
    sheet = dataclasses.replace(contact_sheet(encoded, given), question="why " * 300 + "x" * 500)
    picture = Image.open(io.BytesIO(as_png(sheet))).convert("RGB")
    assert picture.width < 2000
    edge = np.asarray(picture)[:, -8:]
    assert (edge == edge[0, 0]).all()


@pytest.mark.parametrize("name", ["proof.html", "proof.png", "PROOF.HTML"])
def test_the_suffix_decides_and_what_was_there_is_replaced(name, tmp_path, encoded, given):
    target = tmp_path / name
    target.write_text("old")
    assert write_evidence(target, encoded, given) == target
    assert [p.name for p in tmp_path.iterdir()] == [name]
    head = target.read_bytes()[:15]
    assert head == b"<!doctype html>" if "html" in name.lower() else head.startswith(b"\x89PNG")


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path, encoded, given, monkeypatch):
    target = tmp_path / "proof.png"
    target.write_text("old")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_evidence(target, encoded, given)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("proof.png", "old")]


def test_the_same_answer_gives_the_same_bytes(encoded, given):
    sheet = contact_sheet(encoded, given)
    assert as_html(sheet) == as_html(contact_sheet(encoded, given))
    assert as_png(sheet) == as_png(contact_sheet(encoded, given))


@pytest.mark.parametrize(
    "name, said",
    [
        ("proof.pdf", "must end in .html or .png, got 'proof.pdf'"),
        ("proof", "must end in .html or .png"),
        ("there.html", "must be a file, got the folder"),
        ("no/proof.html", "must lie in a folder that is there"),
    ],
)
def test_where_it_cannot_be_written_is_told_at_once(name, said, tmp_path):
    (tmp_path / "there.html").mkdir()
    with pytest.raises(ValueError, match=said):
        check_evidence_path(tmp_path / name)


def test_what_stands_below_a_frame_is_escaped_and_tiles_of_any_shape_keep_apart(encoded, given):
    """A search writes the file's name there, and its frames come from several videos."""
    sheet = contact_sheet(encoded, given)
    named = dataclasses.replace(sheet.tiles[0], reason="<meta http-equiv=refresh content=0>" * 9)
    wide = dataclasses.replace(named, picture=Image.new("RGB", (320, 90), "red"), heat=None)
    small = dataclasses.replace(named, picture=Image.new("RGB", (60, 90), "blue"), heat=None)
    mixed = dataclasses.replace(sheet, tiles=(small, wide))
    assert b"<meta http-equiv=refresh" not in as_html(mixed)
    pixels = np.asarray(Image.open(io.BytesIO(as_png(mixed))).convert("RGB"))
    assert (pixels == (255, 0, 0)).all(-1).sum() == 320 * 90, "nothing covers the second picture"
