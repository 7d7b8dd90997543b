"""What an entry says of its video: the text on the disk stays, what is read of it has types."""

import json

import pytest

from bvllm.index import IndexFolder
from bvllm.index.entry import DamageFound
from bvllm.index.mapped import meta_text, open_entry, summarise
from bvllm.video import VideoWarning
from tests.index.make import entry_of, key_of, meta_of
from tests.index.test_damage import FEATURES, SECONDS, forged, metadata, tensors

# As bvllm wrote it when a warning still was a string.
WRITTEN = (
    '{"source": "videos/7.mp4", "fps": 1.0, "made_at": 1000000007.0, "version": "0.1.0", '
    '"info": {"container": "mov", "codec": "h264", "width": 96, "height": 64, "stored_width": 96, '
    '"stored_height": 64, "rotation": 0, "mirrored": false, "pixel_format": "yuv420p", '
    '"duration_seconds": 4.0, "frame_rate": 2.0, "frames": 8, "bytes": 1000, "still": false}, '
    '"report": {"asked": 4, "got": 4, "skipped": 0, "substituted": 0, "decoded": 0, "damaged": 0, '
    '"seconds": 4.0, "warnings": ["short: a hint"], "truncated": false, "complete": true, "sparse": false}}'
)


def opened(folder, text: str):
    path = folder / (key_of(1).name + ".safetensors")
    path.write_bytes(forged(metadata(meta=text) + tensors(seconds=SECONDS, features=FEATURES), bytes(12)))
    return open_entry(path).meta, summarise(path).meta


def test_the_text_is_what_it_always_was():
    assert meta_text(meta_of(7)) == WRITTEN


def test_an_entry_of_before_is_read_with_typed_warnings(tmp_path):
    assert opened(tmp_path, WRITTEN) == (meta_of(7), meta_of(7))


def test_what_is_written_comes_back(tmp_path):
    entry = IndexFolder(tmp_path).write(key_of(3), entry_of(3))
    assert entry.meta.report.warnings == (VideoWarning("short", "a hint"),)
    assert open_entry(entry.path).meta == meta_of(3)


@pytest.mark.parametrize(
    "warnings", ["short: a hint", ["odd: x"], ["short"], [1], [{"kind": "short", "text": "x"}], 5, None, [[]]]
)
def test_other_warnings_are_damage(tmp_path, warnings):
    said = json.loads(WRITTEN)
    said["report"]["warnings"] = warnings
    with pytest.raises(DamageFound, match="its metadata cannot be read"):
        opened(tmp_path, json.dumps(said))


@pytest.mark.parametrize("text", ["{}", "[]", "5", '{"report": []}', '{"report": {}}', "["])
def test_other_metadata_is_damage(tmp_path, text):
    with pytest.raises(DamageFound, match="its metadata cannot be read"):
        opened(tmp_path, text)
