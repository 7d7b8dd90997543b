"""Search: exact scores, moments that are apart, words that are known, evidence."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bvllm.asking.find import find_moments
from bvllm.asking.query import UnknownWords, text_encoder_of, unknown_words
from bvllm.asking.search_evidence import write_search_evidence
from bvllm.common.text import Question
from bvllm.index import IndexedVideo, IndexFolder, TowerEncoder, index_video
from bvllm.index.search.moments import best_moments
from bvllm.index.search.scores import BLOCK, cosines
from bvllm.inference.loading import LoadedModel, ModelError
from bvllm.model.text_encoder import TextEncoder
from bvllm.types import Budget
from tests.model import tiny
from tests.video import make
from tests.videos import write_video


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    (folder / "b.mp4").write_bytes(make.video(24, fps=2))
    return [write_video(folder / "a.mp4", 30), folder / "b.mp4"]


@pytest.fixture(scope="module")
def entries(files, loaded, tmp_path_factory) -> list[IndexedVideo]:
    folder = IndexFolder(tmp_path_factory.mktemp("index"))
    return [index_video(file, folder, TowerEncoder.of(loaded)) for file in files]


@pytest.fixture
def tower(entries) -> TextEncoder:
    """Two words: "star" is what frame 7 of the first video shows, "red" frame 3 of the second."""
    made = TextEncoder(["star", "red"], entries[0].features.shape[1])
    with torch.no_grad():
        made.table.weight.copy_(torch.stack([entries[0].features[7], entries[1].features[3]]))
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_frame_has_its_cosine(dtype):
    features = torch.randn(2 * BLOCK + 5, 8).to(dtype)
    query = torch.randn(8)
    wanted = torch.nn.functional.cosine_similarity(features.double(), query[None].double())
    np.testing.assert_allclose(cosines(features, query), wanted, atol=1e-6)


def test_a_frame_of_zeros_is_like_nothing_and_widths_must_agree():
    assert cosines(torch.zeros(2, 3), torch.ones(3)).tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="query must have the 3 channels"):
        cosines(torch.zeros(2, 3), torch.ones(4))


def test_moments_are_apart_and_in_order():
    rng = np.random.default_rng(0)
    scores = [rng.random(n).astype(np.float32) for n in (50, 1, 200)]
    seconds = [np.sort(rng.random(len(row)) * 100) for row in scores]
    found = best_moments(scores, seconds, top=12, near_seconds=4.0)
    assert [m.score for m in found] == sorted((m.score for m in found), reverse=True)
    for k, moment in enumerate(found):
        assert scores[moment.video][moment.frame] == np.float32(moment.score)
        assert seconds[moment.video][moment.frame] == moment.seconds
        others = [m for m in found[:k] if m.video == moment.video]
        assert all(abs(m.seconds - moment.seconds) > 4.0 for m in others)
    assert len(best_moments(scores, seconds, top=10_000, near_seconds=1000.0)) == 3
    left = {(m.video, m.frame) for m in best_moments(scores, seconds, top=10_000, near_seconds=0.0)}
    assert len(left) == 251


def test_no_frame_that_is_better_and_free_is_left_out():
    """Against taking them one by one from a sorted list."""
    rng = np.random.default_rng(1)
    scores, seconds = [rng.random(300).astype(np.float32)], [np.arange(300) * 0.5]
    wanted: list[int] = []
    for frame in np.argsort(-scores[0], kind="stable").tolist():
        if len(wanted) < 20 and all(abs(seconds[0][frame] - seconds[0][k]) > 3.0 for k in wanted):
            wanted.append(frame)
    assert [m.frame for m in best_moments(scores, seconds, 20, near_seconds=3.0)] == wanted


def test_the_frame_that_is_meant_comes_first(entries, tower, loaded):
    for query, video, frame in (("a star", 0, 7), ("something red", 1, 3)):
        found = find_moments(entries, query, loaded, tower)
        first = found.moments[0]
        assert (found.how, found.frames, first.video, first.frame) == ("words", 42, video, frame)
        assert first.score == pytest.approx(1.0, abs=1e-5)
        assert first.seconds == entries[video].seconds[frame]
    assert found.unknown == ("something",)


def test_without_a_word_tower_the_selector_ranks(entries, loaded):
    found = find_moments(entries, "which colour is red", loaded, None, top=3)
    assert found.how == "selector"
    asked = loaded.read(Question("which colour is red"))
    best = []
    with torch.inference_mode():
        for entry in entries:
            chosen = loaded.select(entry.features, entry.seconds, asked, Budget())
            best.append(float(chosen.logits.max()))
    assert found.moments[0].score == pytest.approx(max(best), rel=1e-5)
    assert found.moments[0].video == int(np.argmax(best))


def test_unknown_words_are_named_and_a_query_of_nothing_else_is_refused(entries, tower, loaded):
    assert find_moments(entries, "a red zebra on the moon", loaded, tower).unknown == ("zebra", "moon")
    assert unknown_words("red, red STAR!", {"red", "star"}.__contains__) == ()
    for words in (tower, None):
        with pytest.raises(UnknownWords, match="query must hold a word that the model knows"):
            find_moments(entries, "zebra crossing", loaded, words)
    with pytest.raises(ValueError, match="query must hold words"):
        find_moments(entries, " ", loaded, tower)
    with pytest.raises(ValueError, match="top must be at least 1"):
        find_moments(entries, "red", loaded, tower, top=0)


def test_a_word_that_shows_nowhere_is_refused(entries, tower, loaded):
    with torch.no_grad():
        tower.table.weight.zero_()
    with pytest.raises(UnknownWords, match="shows in pictures"):
        find_moments(entries, "red", loaded, tower)


def test_a_model_that_can_neither_is_refused(entries):
    blind = LoadedModel(tiny.model(frame_selector="uniform"), tiny.processor(), "blind")
    with pytest.raises(ModelError, match="'blind' cannot search"):
        find_moments(entries, "red", blind, None)


def test_the_word_tower_lies_beside_the_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert text_encoder_of(str(tmp_path)) is None
    TextEncoder(["red"], 4).save(tmp_path)
    assert text_encoder_of(str(tmp_path)).known("Red blue") == ["red"]


@pytest.mark.parametrize("suffix", ["html", "png"])
def test_evidence_shows_the_frames_of_the_moments(entries, files, tower, loaded, tmp_path, suffix):
    found = find_moments(entries, "red", loaded, tower, top=4)
    path = write_search_evidence(tmp_path / f"proof.{suffix}", "red <b>", found, entries, files)
    if suffix == "png":
        assert Image.open(path).size[0] > 300
    else:
        page = path.read_text()
        assert page.count("<figure>") == 4
        assert "4 moments" in page
        assert "Timeline" not in page  # those of several videos have none in common
        assert "red &lt;b&gt;" in page


def test_evidence_of_nothing_or_of_a_file_that_went_away_is_refused(entries, tower, loaded, tmp_path):
    found = find_moments(entries, "red", loaded, tower)
    gone = [Path("gone.mp4")] * 2
    with pytest.raises(Exception, match="must exist"):
        write_search_evidence(tmp_path / "x.png", "red", found, entries, gone)
    nothing = find_moments([], "red", loaded, tower)
    with pytest.raises(ValueError, match="evidence must show a moment"):
        write_search_evidence(tmp_path / "x.png", "red", nothing, [], [])


def test_a_damaged_word_tower_is_an_error_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "word_tower.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
    monkeypatch.setattr("bvllm.asking.query.resolve_model", lambda name: name)
    with pytest.raises(ModelError, match="its file is damaged"):
        text_encoder_of(str(tmp_path))
