"""Rows packed by gzip, bzip2 or xz are the rows that they pack; what is damaged is no end of the file."""

import bz2
import gc
import gzip
import json
import lzma
import pickle
import zlib

import pytest

from bvllm.data import compressed
from bvllm.data.chat import read_rows
from bvllm.data.readers import RowFile
from tests.data.rows import llava

ROWS = [llava(f"what is {k}?", str(k), id=str(k)) for k in range(40)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("plain", [LINES, json.dumps(ROWS).encode()], ids=["lines", "array"])
def test_packed_rows_are_the_rows(tmp_path, ending, plain):
    packed, whole = tmp_path / f"rows.json.{ending}", tmp_path / "rows.json"
    packed.write_bytes(PACKERS[ending](plain))
    whole.write_bytes(plain)
    found, wanted = RowFile(packed), RowFile(whole)
    assert len(found) == len(wanted) == 40
    for k in (7, 39, 0):
        assert found[k].turns == wanted[k].turns
        assert found.where(k) == wanted.where(k).replace(str(whole), str(packed))


def test_the_temporary_file_goes_with_its_rows_and_a_copy_reads_it(tmp_path, monkeypatch):
    monkeypatch.setattr(compressed.tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(LINES))
    rows = RowFile(tmp_path / "rows.jsonl.gz")
    assert len(list((tmp_path / "scratch").iterdir())) == 1
    copy = pickle.loads(pickle.dumps(rows))
    assert copy[3].id == "3"
    del copy
    gc.collect()
    assert rows[4].id == "4", "a copy, as a worker has it, takes nothing away"
    del rows
    gc.collect()
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("ending", PACKERS)
def test_a_damaged_file_is_an_error_and_leaves_nothing_behind(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(compressed.tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    whole = PACKERS[ending](LINES)
    for number, data in enumerate((whole[: len(whole) // 2], whole[:40] + b"\0" * 9 + whole[49:])):
        path = tmp_path / f"{number}.jsonl.{ending}"
        path.write_bytes(data)
        with pytest.raises(ValueError, match="must unpack to its end"):
            RowFile(path)
        with pytest.raises(ValueError, match="must unpack to its end"):
            read_rows(path)
    assert not list((tmp_path / "scratch").iterdir())


def test_a_bomb_and_other_packers_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(compressed, "MOST_UNPACKED_BYTES", 1 << 20)
    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(b" " * (8 << 20)))
    with pytest.raises(ValueError, match="must unpack to at most 1048576 bytes"):
        RowFile(bomb)
    other = tmp_path / "rows.jsonl.zst"
    other.write_bytes(b"\x28\xb5\x2f\xfd" + zlib.compress(LINES))
    with pytest.raises(ValueError, match=r"gzip, bzip2 or xz, got zstd: unpack it"):
        RowFile(other)
