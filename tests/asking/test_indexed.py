"""Through the index: the same answers, and what was seen once is not seen again."""

import shutil
from collections import Counter

import pytest
import torch

from bvllm.asking.indexed import FetchedFrames, indexed_video
from bvllm.common import text
from bvllm.index import IndexFolder
from bvllm.inference.ask import answer, encode_video
from bvllm.inference.loading import LoadedModel
from bvllm.video import reader
from tests.videos import SECONDS, write_video

QUESTION = "which colour is the sign ?"


@pytest.fixture
def folder(tmp_path):
    return IndexFolder(tmp_path / "index")


def blind(loaded: LoadedModel) -> LoadedModel:
    """The same model, whose first pass fails."""

    class Blind(LoadedModel):
        def frame_features(self, frames):
            raise AssertionError("what is indexed must not be looked at again")

    return Blind(loaded.model, loaded.processor, loaded.name, loaded.fast)


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    """Long enough to be decoded in part."""
    return write_video(tmp_path_factory.mktemp("long") / "long.mp4", 90, rate=8)


@pytest.mark.parametrize("name", ["video", "long_video"], ids=["all decoded", "decoded in part"])
def test_the_answer_is_the_same_with_the_index_and_without(name, loaded, folder, request):
    path = request.getfixturevalue(name)
    plain = encode_video(path, loaded)
    first = indexed_video(path, loaded, folder)
    later = indexed_video(path, blind(loaded), folder)
    for seen in (first, later):
        assert torch.equal(seen.frame_features, plain.frame_features)
        assert torch.equal(seen.seconds, plain.seconds)
        assert (seen.info, seen.report) == (plain.info, plain.report)
        assert torch.equal(seen.store.get([3, 0, 3]), plain.store.get([3, 0, 3]))
        assert answer(seen, QUESTION, loaded) == answer(plain, QUESTION, loaded)
    assert isinstance(later.store, FetchedFrames)
    assert (later.store.frame_map is not None) == (name == "long_video")


def test_a_changed_video_is_looked_at_again(video, loaded, folder, tmp_path):
    copy = tmp_path / "copy.mp4"
    shutil.copy(video, copy)
    assert len(indexed_video(copy, loaded, folder)) == SECONDS
    write_video(copy, 20)
    assert len(indexed_video(copy, loaded, folder)) == 20
    assert len(folder.entries()) == 2


def test_another_rate_is_another_entry(video, loaded, folder):
    assert len(indexed_video(video, loaded, folder)) == SECONDS
    assert len(indexed_video(video, loaded, folder, fps=0.5)) == SECONDS // 2


def test_an_ask_does_each_thing_once(video, loaded, folder, monkeypatch):
    """The file's identity, the look into the index, the question's parts and its tokens."""
    counts = Counter()

    def counted(home, name):
        own = getattr(home, name)

        def spy(*args, **kwargs):
            counts[name] += 1
            return own(*args, **kwargs)

        monkeypatch.setattr(home, name, spy)

    indexed_video(video, loaded, folder).close()
    counted(IndexFolder, "content")
    counted(IndexFolder, "find")
    counted(text, "split_prompt")
    counted(type(loaded.processor), "question_ids")
    counted(reader, "read_video")
    seen = indexed_video(video, loaded, folder)
    answer(seen, QUESTION, loaded)
    assert counts == {"content": 1, "find": 1, "split_prompt": 1, "question_ids": 1}
    counts.clear()
    indexed_video(video, loaded, IndexFolder(folder.path.with_name("other"))).close()
    assert counts["content"] == 1
    assert counts["find"] == 2, "once more when the video is ours to index: another process may have finished"
