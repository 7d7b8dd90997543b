"""Tar shards and streams: samples found in place, shared without doubles, bad ones named."""

import io
import json
import tarfile

import pytest

from bvllm.data.encode import Encoder
from bvllm.data.faults import InvalidRow, InvalidRowLog
from bvllm.data.hub import HubName, hub_row, open_hub
from bvllm.data.mixture import Mixture, RowSet
from bvllm.data.shards import Sample, TarRows, read_samples
from bvllm.data.streams import TarSource
from bvllm.data.training_set import TrainingSet
from tests.data.rows import llava, picture, video
from tests.model import tiny


def pack(path, *samples, mode="w"):
    """Each sample as (key, {suffix: bytes or a row})."""
    with tarfile.open(path, mode) as archive:
        for key, files in samples:
            for suffix, data in files.items():
                data = data if isinstance(data, bytes) else json.dumps(data).encode()
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def asks(k, **fields):
    return llava(f"what is {k} ?", f"the {k}", id=str(k), **fields)


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    return picture(folder / "a.jpg").read_bytes(), video(folder / "b.mp4").read_bytes()


@pytest.fixture
def shards(tmp_path, media):
    image, clip = media
    see = llava("<image>\nwhich ?", "red", id="2")
    look = llava("<video>\nwhich ?", "blue", id="3", video="some/other/name.mp4")
    chat = {
        "id": "4",
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image", "path": "5.b.jpg"}, {"type": "image", "path": "x"}],
            },
            {"role": "assistant", "content": "green"},
        ],
    }
    return [
        pack(tmp_path / "0.tar", ("d/1", {"json": asks(1)}), ("d/2", {"jpg": image, "json": see})),
        pack(
            tmp_path / "1.tar",
            ("v" * 150 + "/3", {"json": look, "mp4": clip}),  # a name too long for one header
            ("d/5", {"a.jpg": image, "b.jpg": clip, "json": chat}),
        ),
    ]  # fmt: skip


def test_samples_are_rows_by_number(shards, media):
    rows = TarRows(shards)
    assert [rows[k].id for k in range(len(rows))] == ["1", "2", "3", "4"]
    assert [m.source for m in rows[1].media] == [media[0]]
    assert [m.source for m in rows[2].media] == [media[1]]
    assert [m.source for m in rows[3].media] == [media[1], media[0]]  # by name, then what is left
    assert rows[2].where == f"{shards[1]}:{'v' * 150}/3 (sample 2)"
    with pytest.raises(IndexError, match=r"row must be in 0\.\.3, got 4"):
        rows[4]


def test_shards_mix_with_files_and_decode(shards):
    dataset = TrainingSet(
        Mixture([RowSet("shards", TarRows(shards[:1]))]), Encoder(tiny.processor()), InvalidRowLog("raise")
    )
    assert sorted(sum(dataset[k].frames) for k in range(2)) == [0, 1]


def test_a_stream_gives_what_the_index_gives(shards):
    rows = TarRows(shards)
    streamed = [sample for path in shards for sample in read_samples(Pipe(path.read_bytes()), "pipe")]
    assert [json.loads(s.files[s.key.split("/")[1] + ".json"])["id"] for s in streamed] == list("1234")
    assert {r.id for r in TarSource(shards).rows(7)} == {rows[k].id for k in range(4)}


class Pipe(io.RawIOBase):
    """Bytes that can only be read forward."""

    def __init__(self, data):
        self.data = io.BytesIO(data)

    def readable(self):
        return True

    def seekable(self):
        return False

    def readinto(self, buffer):
        return self.data.readinto(buffer)


@pytest.mark.parametrize(
    "files, kind, says",
    [
        ({"jpg": b"x"}, "schema", "a sample must have one .json, got files ['s.jpg']"),
        ({"json": b"{"}, "json", "a row must be JSON in UTF-8, got JSONDecodeError"),
        ({"json": llava("<image>\nwhat ?", "x")}, "placeholder", "every placeholder must have its file"),
        ({"json": llava("what ?", "x"), "jpg": b"x"}, "placeholder", "for files {'image': 1"),
        ({"json": llava("<image>?", "x", image="a"), "a.jpg": b"x", "b.jpg": b""}, "placeholder", "s.b.jpg"),
        ({"json": llava("<video>?", "x", video="a"), "jpg": b"x"}, "missing", "must be in the sample"),
        ({"json": llava("what ?")}, "no_answer", "must have an answer"),
    ],
)  # fmt: skip
def test_bad_samples_are_named(tmp_path, files, kind, says):
    path = pack(tmp_path / "a.tar", ("s", files), ("t", {"json": asks(1)}))
    rows = TarRows([path])
    with pytest.raises(InvalidRow) as error:
        rows[0]
    assert (error.value.fault.kind, error.value.fault.where) == (kind, f"{path}:s (sample 0)")
    assert says in error.value.fault.reason
    assert rows[1].id == "1"


def test_large_samples_links_and_devices_are_not_read(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (
            ("a.json", tarfile.SYMTYPE),
            ("b.json", tarfile.CHRTYPE),
            ("c.json", tarfile.LNKTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "../../outside"
            archive.addfile(info)
    pack(path, ("d", {"json": b"x" * 2000}), ("e", {"json": asks(1)}), mode="a")
    rows = TarRows([path], max_bytes=1000)
    for k in range(4):
        with pytest.raises(
            InvalidRow, match="a sample must be regular files of at most 1000 bytes, got others"
        ):
            rows[k]
    assert rows[4].id == "1"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("cut", [0, 200, 700, 1100])
def test_a_cut_shard_is_noticed(tmp_path, cut):
    whole = pack(tmp_path / "a.tar", ("s", {"json": asks(1)}), ("t", {"json": b"x" * 1500})).read_bytes()
    path = tmp_path / "cut.tar"
    path.write_bytes(whole[: 1024 + cut])
    rows = TarRows([path])
    assert rows[0].id == "1"
    streamed = list(read_samples(io.BytesIO(path.read_bytes()), "cut"))
    assert isinstance(streamed[0], Sample)
    assert streamed[-1].fault.kind == "truncated"
    assert len(rows) == 2
    with pytest.raises(InvalidRow, match="must be whole, got"):
        rows[1]


def test_what_is_no_shard_is_refused(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(ValueError, match=r"a\.tar must be an uncompressed tar archive, got something else"):
        TarRows([tmp_path / "a.tar"])
    with pytest.raises(ValueError, match="shards must hold samples, got none in 1 files: add some"):
        TarRows([pack(tmp_path / "b.tar")])
    with pytest.raises(ValueError, match="must be an uncompressed tar archive"):
        TarRows([pack(tmp_path / "c.tar.gz", ("s", {"json": asks(1)}), mode="w:gz")])
    with open(tmp_path / "c.tar.gz", "rb") as file:
        assert [sample.key for sample in read_samples(file, "c")] == ["s"]


def test_hub_rows_carry_their_media(media):
    image, clip = media
    row = llava("<video><image>\nwhat ?", "x", image={"bytes": image, "path": "a.jpg"}, video=[clip])
    read = hub_row(row, "hub (row 0)")
    assert [(m.kind, m.source) for m in read.media] == [("video", clip), ("image", image)]
    with pytest.raises(InvalidRow, match="media must be bytes, got str: cast with decode=False"):
        hub_row(llava("<image>?", "x", image="a.jpg"), "hub (row 0)")
    chat = {"messages": [{"role": "user", "content": [{"type": "image", "path": "a.jpg"}]}]}
    with pytest.raises(InvalidRow, match=r"image must come with the row, got the path 'a\.jpg'"):
        hub_row(chat, "hub (row 0)")


def test_wrong_use():
    with pytest.raises(ImportError, match="Hub datasets need the package datasets: pip install"):
        open_hub(HubName("someone/something"))
