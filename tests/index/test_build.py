"""Indexing a video: what the entry holds, going on in the middle, and what is refused."""

import os
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from bvllm.asking.indexed import indexed_video
from bvllm.index import IndexFolder, TowerEncoder, build, find_indexed, hashes, index_video
from bvllm.inference.ask import encode_video
from bvllm.inference.loading import CHUNK, LoadedModel
from bvllm.model.fast_tower import fast_tower
from bvllm.video import FrameMap, Limits, VideoError, fetch_frames
from tests.model import tiny
from tests.video.make import video as make_video
from tests.videos import SECONDS


@pytest.fixture
def folder(tmp_path) -> IndexFolder:
    return IndexFolder(tmp_path / "index")


@dataclass
class StoppingEncoder:
    """Looks at so many chunks, then stops as Ctrl-C does; counts the frames it saw."""

    inner: TowerEncoder
    chunks: int
    seen: list[int] = field(default_factory=list)
    frame_size = property(lambda self: self.inner.frame_size)
    fingerprint = property(lambda self: self.inner.fingerprint)
    device = property(lambda self: self.inner.device)
    chunk = property(lambda self: self.inner.chunk)

    def frame_features(self, frames):
        if len(self.seen) == self.chunks:
            raise KeyboardInterrupt
        self.seen.append(len(frames))
        return self.inner.frame_features(frames)


def test_an_entry_holds_what_the_first_pass_gives(video, loaded, folder):
    encoder, told = TowerEncoder.of(loaded), []
    found = index_video(video, folder, encoder, progress=lambda *said: told.append(said))
    with_pixels = encode_video(video, loaded)
    assert torch.equal(found.features, with_pixels.frame_features)
    assert torch.equal(found.seconds, with_pixels.seconds)
    assert (found.meta.info, found.meta.report) == (with_pixels.info, with_pixels.report)
    assert (found.meta.source, found.meta.fps) == (str(video), 1.0)
    assert told[0] == ("index", 0, SECONDS)
    assert told[-1] == ("index", SECONDS, SECONDS)
    with_pixels.close()


def test_a_second_time_nothing_is_looked_at(video, loaded, folder):
    first = index_video(video, folder, TowerEncoder.of(loaded))
    again = StoppingEncoder(TowerEncoder.of(loaded), 0)
    assert torch.equal(index_video(video, folder, again).features, first.features)
    assert find_indexed(video, folder, again) is not None
    assert find_indexed(video, folder, again, fps=2.0) is None


@pytest.mark.parametrize("workers", [1, 3])
def test_going_on_gives_the_bits_of_a_run_that_was_never_stopped(video, loaded, folder, tmp_path, workers):
    encoder = TowerEncoder.of(loaded)
    whole = index_video(video, IndexFolder(tmp_path / "whole"), encoder)
    with pytest.raises(KeyboardInterrupt):
        index_video(video, folder, StoppingEncoder(encoder, 2), workers=1)
    rest = StoppingEncoder(encoder, 9)
    found = index_video(video, folder, rest, workers=workers)
    assert sum(rest.seen) < SECONDS
    assert torch.equal(found.features, whole.features)
    assert torch.equal(found.seconds, whole.seconds)
    assert found.meta.report == whole.meta.report


@pytest.mark.parametrize("fps", [0.4, 1.0])
def test_what_was_stopped_at_the_very_end_is_finished(video, loaded, folder, fps, monkeypatch):
    """0.4 a second: the journal ends with a whole chunk, and no frame is left to look at."""
    encoder = TowerEncoder.of(loaded)
    finish = build.PartialEntry.finish

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(build.PartialEntry, "finish", stop)
    with pytest.raises(KeyboardInterrupt):
        index_video(video, folder, encoder, fps=fps)
    monkeypatch.setattr(build.PartialEntry, "finish", finish)
    found = index_video(video, folder, encoder, fps=fps)
    encoded = encode_video(video, loaded, fps=fps)
    assert torch.equal(found.features, encoded.frame_features)
    assert len(found) == round(SECONDS * fps)
    encoded.close()


def test_another_file_rate_or_model_is_another_entry(video, loaded, folder, tmp_path):
    encoder = TowerEncoder.of(loaded)
    index_video(video, folder, encoder)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(video.read_bytes())
    assert find_indexed(copy, folder, encoder) is not None, "the same bytes under another name"
    copy.write_bytes(video.read_bytes() + b"\0")
    assert find_indexed(copy, folder, encoder) is None
    assert find_indexed(video, folder, encoder, fps=0.5) is None
    other = tiny.model()
    weight = next(iter(other.model.vision_tower.parameters()))
    weight.data.view(-1)[0] += 1e-3
    assert find_indexed(video, folder, TowerEncoder.of(replace(loaded, model=other))) is None


def test_the_fingerprint_sees_all_that_a_feature_depends_on(loaded):
    said = {TowerEncoder.of(loaded).fingerprint}
    assert said == {TowerEncoder.of(LoadedModel(tiny.model(), tiny.processor(), "again")).fingerprint}
    said.add(TowerEncoder.of(replace(loaded, model=tiny.model().bfloat16())).fingerprint)
    said.add(TowerEncoder.of(replace(loaded, model=tiny.model(frame_feature="mean"))).fingerprint)
    said.add(TowerEncoder.of(replace(loaded, model=tiny.model(frame_feature="qformer"))).fingerprint)
    processor = tiny.processor()
    processor.video_processor.image_mean = [0.1, 0.2, 0.3]
    said.add(TowerEncoder.of(replace(loaded, processor=processor)).fingerprint)
    assert len(said) == 5
    changed = tiny.model()
    changed.model.token_sampler.requires_grad_(False).zero_grad()
    next(iter(changed.model.token_sampler.parameters())).data.zero_()
    assert TowerEncoder.of(replace(loaded, model=changed)).fingerprint in said, "what comes after is not seen"


def test_a_video_that_a_limit_cuts_short_is_not_indexed(video, loaded, folder):
    with pytest.raises(VideoError, match=r"must be read to its end for an index, got limit: .*max_seconds"):
        index_video(video, folder, TowerEncoder.of(loaded), limits=Limits(max_seconds=20.0))
    assert folder.entries() == []


def test_a_video_that_changes_meanwhile_is_not_indexed(video, loaded, folder, tmp_path):
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(video.read_bytes())
    encoder = TowerEncoder.of(loaded)

    def touch(_, done, __):
        if done == CHUNK:
            os.utime(copy)

    with pytest.raises(VideoError, match="must stay as it is while it is indexed, got one that changed"):
        index_video(copy, folder, encoder, workers=1, progress=touch)
    assert folder.entries() == []
    assert len(index_video(copy, folder, encoder)) == SECONDS


@pytest.mark.parametrize("data, kind", [(b"", "empty"), (b"no video" * 100, "corrupt")])
def test_what_is_no_video_leaves_nothing_behind(loaded, folder, tmp_path, data, kind):
    (tmp_path / "bad.mp4").write_bytes(data)
    with pytest.raises(VideoError) as error:
        index_video(tmp_path / "bad.mp4", folder, TowerEncoder.of(loaded))
    assert error.value.kind == kind
    assert [f.kind for f in folder.check()] == []


def test_no_workers_is_wrong(video, loaded, folder):
    with pytest.raises(ValueError, match="workers must be at least 1, got 0: leave it out"):
        index_video(video, folder, TowerEncoder.of(loaded), workers=0)


def test_the_frame_map_finds_the_frames_again_also_after_going_on(loaded, folder, tmp_path):
    (tmp_path / "long.mp4").write_bytes(make_video(frames=80 * 4, fps=4))
    path, encoder = tmp_path / "long.mp4", TowerEncoder.of(loaded)
    whole = index_video(path, IndexFolder(tmp_path / "whole"), encoder)
    with pytest.raises(KeyboardInterrupt):
        index_video(path, folder, StoppingEncoder(encoder, 3), workers=1)
    found = index_video(path, folder, encoder)
    assert found.meta.report.sparse
    assert found.frame_map.keys() == whole.frame_map.keys()
    assert all(np.array_equal(found.frame_map[name], array) for name, array in whole.frame_map.items())
    assert found.features.equal(whole.features)
    wanted = [3, 77, 20]
    pixels = fetch_frames(path, wanted, FrameMap.from_arrays(found.frame_map), size=loaded.frame_size)
    assert torch.equal(loaded.frame_features(pixels), found.features[wanted])
    assert found.bytes < len(found) * (4 * found.features.shape[1] + 64) + 4096


def test_a_tower_that_takes_more_frames_at_a_time_is_given_more(video, folder, tmp_path, monkeypatch):
    """As on a GPU; on the way nothing else may know how many there are."""
    monkeypatch.setattr("bvllm.model.fast_tower._frames_per_step", lambda tokens: 32)
    model, processor = tiny.model(), tiny.processor()
    normal = processor.video_processor
    quick = fast_tower(model.model.vision_tower, normal.image_mean, normal.image_std)
    large, small = LoadedModel(model, processor, fast=quick), LoadedModel(model, processor)
    assert (large.chunk, large.patch_step, small.chunk) == (32, 32, CHUNK)
    encoder = TowerEncoder.of(large)
    whole = index_video(video, IndexFolder(tmp_path / "whole"), encoder)
    torch.testing.assert_close(whole.features, encode_video(video, small).frame_features)
    stopped = StoppingEncoder(encoder, 1)
    with pytest.raises(KeyboardInterrupt):
        index_video(video, folder, stopped, workers=1)
    assert stopped.seen == [32]
    rest = StoppingEncoder(encoder, 9)
    assert torch.equal(index_video(video, folder, rest, workers=1).features, whole.features)
    assert rest.seen == [32, 8]  # the last chunk that was kept is made again


@pytest.mark.parametrize("fast", [True, False])
def test_wide_features_are_kept_small_and_are_the_same_as_without_an_index(folder, tmp_path, fast):
    model, processor = tiny.model(vision_config=tiny.vision_config(hidden_size=1024)), tiny.processor()
    even = (0.5, 0.5, 0.5)
    quick = fast_tower(model.model.vision_tower, even, even, dtype=torch.float32) if fast else None
    wide = LoadedModel(model, processor, fast=quick)
    (tmp_path / "a.mp4").write_bytes(make_video(frames=40 * 4, fps=4))
    found = index_video(tmp_path / "a.mp4", folder, TowerEncoder.of(wide))
    assert found.features.dtype == torch.bfloat16
    assert found.bytes < len(found) * 4096
    assert torch.equal(found.features.float(), encode_video(tmp_path / "a.mp4", wide).frame_features)


def test_a_video_that_goes_away_meanwhile_is_one_clear_error(video, loaded, folder, tmp_path):
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(video.read_bytes())
    with pytest.raises(VideoError, match="got one that changed") as error:
        index_video(
            copy,
            folder,
            TowerEncoder.of(loaded),
            workers=1,
            progress=lambda *_: copy.unlink(missing_ok=True),
        )
    assert error.value.kind == "io"


def test_a_frame_that_stood_in_for_unread_ones_is_not_believed_later(loaded, folder, tmp_path):
    """At 3 of 4 frames a second the last frame before the limit answers a target that a later one would."""
    path, encoder = tmp_path / "a.mp4", TowerEncoder.of(loaded)
    path.write_bytes(make_video(frames=160, fps=4))
    whole = index_video(path, IndexFolder(tmp_path / "whole"), encoder, fps=3.0)
    told = []
    with pytest.raises(VideoError, match="must be read to its end for an index"):
        index_video(
            path,
            folder,
            encoder,
            fps=3.0,
            limits=Limits(max_decoded_frames=42),
            progress=lambda _, done, __: told.append(done),
        )
    assert told[-1] == 2 * CHUNK  # two full chunks, so that only the rule can tell
    assert torch.equal(index_video(path, folder, encoder, fps=3.0).features, whole.features)


def test_a_first_question_hashes_the_file_once(video, loaded, tmp_path, monkeypatch):
    hashed, real = [], hashes.hash_file
    monkeypatch.setattr(hashes, "SETTLED_SECONDS", -1.0)
    monkeypatch.setattr(hashes, "hash_file", lambda file: hashed.append(file) or real(file))
    indexed_video(video, loaded, IndexFolder(tmp_path / "new"))
    assert len(hashed) == 1
