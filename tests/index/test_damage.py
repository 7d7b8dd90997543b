"""I2 and I5: no changed byte is ever believed, and an enemy's file costs one rebuild and nothing else."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from bvllm.index import DamagedIndexWarning, IndexFolder
from bvllm.index.entry import DamageFound
from bvllm.index.mapped import open_entry
from tests.index.make import entry_of, is_right, key_of, names, spoil_last


@pytest.fixture
def folder(tmp_path) -> IndexFolder:
    return IndexFolder(tmp_path)


@pytest.fixture
def entry_file(folder):
    return folder.write(key_of(1), entry_of(1, frames=2)).path


def test_every_flipped_byte_is_found(entry_file):
    """Three flips of every byte of the file, header, checksum and padding included."""
    sound = entry_file.read_bytes()
    with entry_file.open("r+b", buffering=0) as file:
        for place, byte in enumerate(sound):
            for flip in (0x01, 0x80, 0xFF):
                os.pwrite(file.fileno(), bytes([byte ^ flip]), place)
                with pytest.raises(DamageFound):
                    open_entry(entry_file)
            os.pwrite(file.fileno(), bytes([byte]), place)
    assert is_right(open_entry(entry_file), entry_of(1, frames=2))


def test_every_cut_and_every_tail_is_found(entry_file):
    sound = entry_file.read_bytes()
    for length in reversed(range(len(sound))):
        os.truncate(entry_file, length)
        with pytest.raises(DamageFound):
            open_entry(entry_file)
    for tail in (b"\0", b"x" * 4096):
        entry_file.write_bytes(sound + tail)
        with pytest.raises(DamageFound):
            open_entry(entry_file)


def test_what_is_damaged_is_told_removed_and_made_again(folder, entry_file):
    spoil_last(entry_file)
    with pytest.warns(DamagedIndexWarning, match="its bytes are not those that were written"):
        assert folder.find(key_of(1)) is None
    assert names(folder.path) == []
    folder.write(key_of(1), entry_of(1))
    assert is_right(folder.find(key_of(1)), entry_of(1))


def test_an_entry_under_another_name_is_foreign(folder, entry_file):
    told = []
    entry_file.rename(folder.path / (key_of(2).name + ".safetensors"))
    assert IndexFolder(folder.path, tell=told.append).find(key_of(2)) is None
    assert [(f.kind, f.why) for f in told] == [
        ("damaged", "it was made for another video, sampling or model")
    ]


def test_damage_that_another_has_mended_meanwhile_is_left_alone(folder, entry_file, monkeypatch):
    sound = entry_file.read_bytes()
    entry_file.write_bytes(sound[:-1])
    mend = IndexFolder(folder.path, tell=lambda _: entry_file.write_bytes(sound) and None)
    assert mend.find(key_of(1)) is None
    assert is_right(folder.find(key_of(1)), entry_of(1, frames=2))


def forged(header: bytes, data: bytes = b"") -> bytes:
    """A file with a right checksum, as only somebody can make it who means harm."""
    header = b'{"__metadata__":{"sha256":"' + b"0" * 64 + header
    text = len(header).to_bytes(8, "little") + header + data
    return text.replace(b"0" * 64, hashlib.sha256(text).hexdigest().encode(), 1)


def metadata(**changes) -> bytes:
    key = key_of(1)
    said = {"format": "bvllm-index-1", "content": key.content, "sampling": key.sampling, "tower": key.tower}
    return b'",' + json.dumps({**said, "meta": "{}", **changes}).encode()[1:]


def tensors(**found) -> bytes:
    return b"," + json.dumps(found).encode()[1:]


def tensor(dtype="F32", shape=(1, 1), place=(0, 4)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": place}


SECONDS = tensor("F64", (1,), (0, 8))
FEATURES = tensor("F32", (1, 1), (8, 12))
HOSTILE = {
    "nested": b'","x":' + b"[" * 100_000,
    "no metadata": b'"}}',
    "metadata is a list": b'"},"__metadata__":[]}',
    "a list of numbers": b'"},"features":[1,2,3]}',
    "half a character": metadata(content="\ud800") + b"}",
    "another format": metadata(format="bvllm-index-2") + b"}",
    "more metadata": metadata(extra="x") + b"}",
    "nothing inside": metadata() + b"}",
    "huge": metadata() + tensors(features=tensor(shape=(1 << 40, 1 << 20), place=(0, 1 << 62))),
    "huger": metadata() + tensors(features=tensor(shape=(10**400,), place=(0, 4))),
    "many sides": metadata() + tensors(features=tensor(shape=(1,) * 5, place=(0, 4))),
    "negative": metadata() + tensors(features=tensor(shape=(-1, -1), place=(0, 4))),
    "true": metadata() + tensors(features=tensor(shape=(True, True), place=(0, 4))),
    "overlap": metadata() + tensors(features=tensor(), seconds=tensor("F64", (1,), (0, 8))),
    "hole": metadata() + tensors(features=FEATURES, seconds=tensor("F64", (1,), (16, 24))),
    "backwards": metadata() + tensors(features=tensor(place=(4, 0))),
    "object": metadata() + tensors(features=tensor("O", (1, 1), (0, 8))),
    "seconds of bytes": metadata() + tensors(features=tensor(), seconds=tensor("U8", (1,), (4, 5))),
    "more seconds": metadata() + tensors(seconds=tensor("F64", (2,), (0, 16)), features=FEATURES),
    "features in a row": metadata() + tensors(seconds=SECONDS, features=tensor("F32", (1,), (8, 12))),
    "no features": metadata() + tensors(seconds=SECONDS),
    "a stranger": metadata() + tensors(seconds=SECONDS, features=FEATURES, x=tensor(place=(12, 16))),
    "no meta": metadata() + tensors(seconds=SECONDS, features=FEATURES),
    "meta of lists": metadata(meta="[" * 10_000) + tensors(seconds=SECONDS, features=FEATURES),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_forged_header_is_no_more_than_damage(folder, name):
    path = folder.path / (key_of(1).name + ".safetensors")
    path.write_bytes(forged(HOSTILE[name], bytes(12)))
    with pytest.raises(DamageFound):
        open_entry(path)


@pytest.mark.parametrize("length", [0, 1, 1 << 20, (1 << 20) + 1, 1 << 40, (1 << 64) - 1])
def test_a_header_is_never_read_beyond_its_limit(folder, length):
    path = folder.path / (key_of(1).name + ".safetensors")
    with path.open("wb") as file:
        file.write(length.to_bytes(8, "little"))
        file.truncate(1 << 33)  # sparse: 8 GB that must not be read
    with pytest.raises(DamageFound):
        open_entry(path)


MUTATE = """
import hashlib, os, random, resource, sys
from pathlib import Path
from bvllm.index.entry import DamageFound
from bvllm.index.mapped import open_entry
from tests.index.make import entry_of, is_right, key_of

resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
path, rng = Path(sys.argv[1]), random.Random(7)
sound, entry, found = path.read_bytes(), entry_of(1, frames=2), 0
file = os.open(path, os.O_RDWR)
for round in range(1000):
    data = bytearray(sound)
    for _ in range(rng.choice((1, 2, 8))):
        place = rng.randrange(min(len(data), 900))
        piece = rng.choice((bytes([rng.randrange(256)]), b"9" * rng.randrange(1, 20), b"[" * 50, b"", b'"'))
        data[place : place + rng.choice((0, 1, len(piece)))] = piece
    if round % 2:  # as an enemy would: with a checksum that is right
        data[35:99] = b"0" * 64
        data[35:99] = hashlib.sha256(data).hexdigest().encode()
    os.pwrite(file, data, 0)
    os.truncate(file, len(data))
    try:
        video = open_entry(path)
        found += 1
        video.features.sum(), video.seconds.sum(), [array.sum() for array in video.frame_map.values()]
    except DamageFound:
        pass
print("opened", found)
"""


def test_a_thousand_mutants_in_little_memory(entry_file):
    """Each opens as a whole or is damage: no other error, no crash, no allocation beyond the file."""
    import_size = 6 << 30  # what importing torch maps, and half a gigabyte
    command = [sys.executable, "-c", MUTATE, str(entry_file), str(import_size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("opened ")


def of_format_2(metadata):
    return {**metadata, "format": "bvllm-index-2"}


LATER = {
    "the same fields": of_format_2,
    "one field more": lambda metadata: {**of_format_2(metadata), "extra": "x"},
    "one field less": lambda metadata: {k: v for k, v in of_format_2(metadata).items() if k != "tower"},
    "another type": lambda metadata: {**of_format_2(metadata), "content": [1]},
    "another order": lambda metadata: dict(reversed(of_format_2(metadata).items())),
}


def a_later_version(path, change):
    """The same entry as a coming version would write it: another format, and so another name."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = change(header["__metadata__"])
    text = json.dumps(header, separators=(",", ":")).encode()
    other = path.with_name("ab" * 32 + ".safetensors")
    other.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    path.unlink()
    return other


@pytest.mark.parametrize("change", LATER)
def test_an_entry_of_another_version_is_left_alone_and_named(folder, entry_file, change):
    other, told = a_later_version(entry_file, LATER[change]), []
    again = IndexFolder(folder.path, max_bytes=0, tell=told.append)
    assert list(again.videos()) == []
    assert again.entries() == []
    assert [f.kind for f in told] == ["other_version"]
    assert "bvllm-index-2" in told[0].why
    assert [f.kind for f in again.check()] == ["other_version"]
    assert again.prune() == []
    assert other.exists()


def test_a_flipped_version_of_our_own_entry_is_damage(folder, entry_file):
    entry_file.write_bytes(entry_file.read_bytes().replace(b"bvllm-index-1", b"bvllm-index-2"))
    assert [f.kind for f in folder.check()] == ["damaged"]


def test_features_that_are_no_numbers_are_damage(folder):
    seconds, features = np.zeros(1).tobytes(), np.full(1, np.nan, "<f4").tobytes()
    text = metadata() + tensors(seconds=SECONDS, features=FEATURES)
    path = folder.path / (key_of(1).name + ".safetensors")
    path.write_bytes(forged(text, seconds + features))
    with pytest.raises(DamageFound, match="features of its frames are no numbers"):
        open_entry(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_never_written(folder, value):
    entry = entry_of(3, frames=2)
    entry.features[0, 0] = value
    with pytest.raises(ValueError, match="features must be finite, got infinity or NaN: check the model"):
        folder.write(key_of(3), entry)
    with folder.partial(key_of(3)) as partial, pytest.raises(ValueError, match="features must be finite"):
        partial.append(entry.features, entry.seconds)
    assert names(folder.path) == []


@pytest.mark.parametrize(
    "count, says",
    [
        (5000, "its header names 5004 tensors, at most 64 are read"),
        (100_000, "its header is longer than it may be"),
    ],
)
def test_a_header_of_many_tensors_is_refused_before_they_are_parsed(folder, entry_file, count, says):
    sound = entry_file.read_bytes()
    length = int.from_bytes(sound[:8], "little")
    header = json.loads(sound[8 : 8 + length])
    header |= {f"x{k}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for k in range(count)}
    text = json.dumps(header, separators=(",", ":")).encode()
    entry_file.write_bytes(len(text).to_bytes(8, "little") + text + sound[8 + length :])
    with pytest.raises(DamageFound, match=says):
        open_entry(entry_file)
