"""Search by a vector library: what it finds is what exact search finds."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from bvllm.asking.find import find_moments
from bvllm.index.search import LibraryShelf, large
from bvllm.index.search.large import library_moments
from bvllm.index.search.library import MissingLibrary, load_library
from bvllm.index.search.moments import best_moments
from bvllm.index.search.rows import sample_of, unit_blocks
from bvllm.index.search.scores import BLOCK, all_cosines
from bvllm.model.word_tower import WordTower
from tests.index.search.fakes import CHANNELS, FakeLibrary, entries, missing, query

LENGTHS = (300, 41, 500, 7)


@pytest.fixture
def fake() -> FakeLibrary:
    return FakeLibrary()


@pytest.fixture
def shelf(fake, tmp_path) -> LibraryShelf:
    return LibraryShelf(tmp_path / "shelf", above=10, load=lambda: fake, tell=lambda _: None)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(large, "PROPOSED", 160)
    monkeypatch.setattr(large, "PROPOSED_PER_MOMENT", 1)
    monkeypatch.setattr(large, "MOST_SHARE", 1.0)


def exactly(videos, vector, top=5, near=5.0):
    scores = all_cosines([video.features for video in videos], vector)
    return best_moments(scores, [video.seconds.numpy() for video in videos], top, near)


def alike(found, wanted):
    assert [(m.video, m.frame, m.seconds) for m in found] == [(m.video, m.frame, m.seconds) for m in wanted]
    np.testing.assert_allclose([m.score for m in found], [m.score for m in wanted], atol=1e-6)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("top, near", [(1, 5.0), (5, 5.0), (12, 2.0), (5, 0.0), (3, 40.0)])
def test_the_same_moments_as_exact_search(shelf, seed, top, near):
    videos = entries(LENGTHS, seed)
    found = library_moments(shelf.library_for(videos), videos, query(seed), top, near)
    alike(found, exactly(videos, query(seed), top, near))


def test_of_most_frames_nothing_is_read(shelf, monkeypatch):
    videos, looked = entries(LENGTHS), []
    library = shelf.library_for(videos)
    real = large.cosines
    monkeypatch.setattr(large, "cosines", lambda f, q: looked.append(len(f)) or real(f, q))
    alike(library_moments(library, videos, query(), 5, 5.0), exactly(videos, query()))
    assert looked == [160]


@pytest.mark.parametrize("seed", range(4))
def test_new_videos_are_looked_at_and_removed_ones_passed_over(shelf, fake, seed):
    videos = entries(LENGTHS, seed)
    shelf.library_for(videos)
    new = replace(entries([20], 99)[0])
    with torch.no_grad():
        new.features[13] = query(seed)
    now = [new, *videos[:3]]  # the last is gone, numbers are others
    found = library_moments(shelf.library_for(now), now, query(seed), 5, 5.0)
    assert fake.builds == 1
    assert (found[0].video, found[0].frame) == (0, 13)
    alike(found, exactly(now, query(seed)))


def test_what_is_gone_cannot_crowd_out_the_rest(shelf, fake, monkeypatch):
    """The removed video is the very best: the library is asked for more."""
    videos = entries((400, 400, 70))
    videos[2].features[:] = query()
    library = shelf.library_for(videos)
    monkeypatch.setattr(large, "PROPOSED", 40)
    alike(library_moments(library, videos[:2], query(), 5, 5.0), exactly(videos[:2], query()))
    assert library.built.asked == [40, 160]


def test_where_the_library_cannot_tell_all_frames_are_looked_at(shelf, monkeypatch):
    monkeypatch.setattr(large, "PROPOSED", 20)
    monkeypatch.setattr(large, "MOST_SHARE", 0.05)
    videos = entries(LENGTHS)
    for video in videos:
        video.features[:] = query() + 0.01 * torch.randn_like(video.features)
    videos[0].features[100:150] = query()  # one stretch has all that is proposed
    assert library_moments(shelf.library_for(videos), videos, query(), 9, 100.0) is None


def test_a_library_that_gives_fewer_than_asked_is_not_taken_for_complete(shelf):
    videos = entries(LENGTHS)
    library = shelf.library_for(videos)
    real = library.built.nearest
    library.built.nearest = lambda query, count: real(query, count)[:9]
    assert library_moments(library, videos, query(), 12, 5.0) is None


def test_copies_of_a_file_are_both_found(shelf):
    videos = entries(LENGTHS)
    videos = [videos[2], *videos]
    found = library_moments(shelf.library_for(videos), videos, query(), 6, 5.0)
    alike(found, exactly(videos, query(), 6))
    assert {m.video for m in found} >= {0, 3}


@pytest.fixture
def tower() -> WordTower:
    made = WordTower(["star", "red"], CHANNELS)
    with torch.no_grad():
        made.table.weight.copy_(torch.stack([query(1), query(2)]))
    return made


def test_find_moments_takes_the_shelf_and_says_so(shelf, fake, tower, loaded, tmp_path):
    videos = entries(LENGTHS)
    exact = find_moments(videos, "a star", loaded, tower)
    found = find_moments(videos, "a star", loaded, tower, shelf=shelf)
    alike(found.moments, exact.moments)
    assert (exact.exact, found.exact, found.frames) == (True, False, 848)
    below = find_moments(videos[3:], "a star", loaded, tower, shelf=shelf)  # 7 frames
    assert (below.exact, fake.builds) == (True, 1)
    for wrong, said in (({"top": 0}, "top must be at least 1"),):
        with pytest.raises(ValueError, match=said):
            find_moments(entries(LENGTHS, 5), "star", loaded, tower, shelf=shelf, **wrong)
    with pytest.raises(ValueError, match="query must have the 4 channels"):
        find_moments(entries(LENGTHS, channels=4), "star", loaded, tower, shelf=shelf)
    assert fake.builds == 1


def test_without_the_extra_the_search_is_exact_and_one_line_says_how_to_get_it(tower, loaded, tmp_path):
    said = []
    shelf = LibraryShelf(tmp_path, above=10, load=missing, tell=said.append)
    videos = entries(LENGTHS)
    found = find_moments(videos, "red", loaded, tower, shelf=shelf)
    assert found == find_moments(videos, "red", loaded, tower)
    assert said == [
        "each of 848 frames is looked at, which takes a while: `pip install it` brings a faster way"
    ]


def test_the_install_line_and_macos(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(MissingLibrary, match=r"pip install 'bvllm\[search\]'"):
        load_library()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(MissingLibrary, match="beside torch on macOS"):
        load_library()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_rows_have_unit_length_in_blocks_and_samples_are_spread(dtype):
    features = [torch.randn(BLOCK + 3, 4).to(dtype), torch.randn(5, 4).to(dtype)]
    blocks = list(unit_blocks(features))
    assert [len(block) for block in blocks] == [BLOCK, 3, 5]
    rows = np.concatenate(blocks)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(sample_of(features, 100), rows[:: -(-len(rows) // 100)])
    np.testing.assert_array_equal(sample_of(features), rows)
