"""The vector library itself, where the extra `search` is installed."""

import sys

import numpy as np
import pytest

from bvllm.index.search import LibraryShelf
from bvllm.index.search.large import library_moments
from bvllm.index.search.library import DamagedLibrary, load_library
from bvllm.index.search.moments import best_moments
from bvllm.index.search.rows import sample_of, unit_blocks
from bvllm.index.search.scores import all_cosines
from tests.index.search.fakes import entries, query

if sys.platform == "darwin":
    pytest.skip("not beside torch on macOS", allow_module_level=True)
faiss = pytest.importorskip("faiss")


@pytest.mark.parametrize("channels", [1, 7, 16])
def test_most_of_the_nearest_are_among_those_it_names_and_it_reads_what_it_wrote(channels):
    features = [video.features for video in entries((3000, 2000), channels=channels)]
    library, rows = load_library(), np.concatenate(list(unit_blocks(features)))
    built = library.build(sample_of(features), unit_blocks(features))
    vector = query(channels=channels).numpy()
    named = built.nearest(vector, 500)
    assert len(set(named.tolist())) == 500
    if channels > 1:  # with one channel there are two directions, and all is a tie
        assert len(set(np.argsort(-(rows @ vector))[:20].tolist()) & set(named.tolist())) >= 19
    again = library.read(built.to_bytes(), 5000, channels)
    np.testing.assert_array_equal(np.sort(again.nearest(vector, 500)), np.sort(named))
    everything = built.nearest(vector, 9999)
    assert len(everything) == len(set(everything.tolist())) <= 5000
    assert set(everything.tolist()) >= set(named.tolist()) or channels == 1


def test_fewer_rows_than_codes_are_taken_too():
    features = [video.features for video in entries((5,))]
    built = load_library().build(sample_of(features), unit_blocks(features))
    assert sorted(built.nearest(query().numpy(), 9)) == [0, 1, 2, 3, 4]


def test_what_is_no_index_or_another_is_damage():
    library = load_library()
    features = [video.features for video in entries((50,))]
    data = library.build(sample_of(features), unit_blocks(features)).to_bytes()
    flat = faiss.serialize_index(faiss.IndexFlatIP(16))
    for wrong, rows in ((data[:40], 50), (np.zeros(9, np.uint8), 50), (data, 49), (flat, 0)):
        with pytest.raises(DamagedLibrary):
            library.read(wrong, rows, 16)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_moments_as_exact_search(tmp_path, seed):
    videos = entries((9000, 400, 11000), seed)
    for _ in range(2):  # built, then read
        library = LibraryShelf(tmp_path, above=10, tell=lambda _: None).library_for(videos)
        found = library_moments(library, videos, query(seed), 5, 5.0)
        scores = all_cosines([video.features for video in videos], query(seed))
        wanted = best_moments(scores, [video.seconds.numpy() for video in videos], 5, 5.0)
        assert [(m.video, m.frame) for m in found] == [(m.video, m.frame) for m in wanted]
        np.testing.assert_allclose([m.score for m in found], [m.score for m in wanted], atol=1e-6)
