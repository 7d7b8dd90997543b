"""I3: what an entry is named by. Another file, rate, size, model or type is another name."""

import hashlib
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvllm.index import IndexKey, default_folder, sampling_settings

parts = st.tuples(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
rates = st.one_of(st.none(), st.floats(min_value=1e-6, max_value=1e6))
sides = st.integers(1, 4096)


@given(parts, parts)
def test_names_are_the_same_for_the_same_parts_only(one, other):
    assert (IndexKey(*one).name == IndexKey(*other).name) is (one == other)


@given(parts)
def test_a_character_moved_from_part_to_part_is_another_name(found):
    content, sampling, tower = found
    assert IndexKey(content + "x", sampling, tower).name != IndexKey(content, "x" + sampling, tower).name
    assert IndexKey(content, sampling + "x", tower).name != IndexKey(content, sampling, "x" + tower).name


@given(rates, sides, sides, rates, sides, sides)
def test_sampling_settings_never_collide(fps, height, width, other_fps, other_height, other_width):
    same = (fps, height, width) == (other_fps, other_height, other_width)
    one = sampling_settings(fps, (height, width))
    assert (one == sampling_settings(other_fps, (other_height, other_width))) is same


def test_30_by_100_is_not_100_by_30():
    assert sampling_settings(1, (30, 100)) != sampling_settings(1, (100, 30))
    assert sampling_settings(1, (30, 100)) == sampling_settings(1.0, (30, 100))


def test_a_name_is_64_hex_digits_and_the_same_on_every_machine():
    key = IndexKey("content", "sampling", "tower")
    assert re.fullmatch("[0-9a-f]{64}", key.name)
    said = b"".join(
        len(part).to_bytes(8, "little") + part
        for part in (b"bvllm-index-1", b"content", b"sampling", b"tower")
    )
    assert key.name == hashlib.sha256(said).hexdigest()
    assert replace(key, tower="other").name != key.name


@pytest.mark.parametrize(
    "environment, folder",
    [
        ({"BVLLM_INDEX": "/i", "XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/i"),
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/bvllm/index"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/bvllm/index"),
        ({"HOME": "/h"}, "/h/.cache/bvllm/index"),
    ],
)
def test_the_default_folder(environment, folder, monkeypatch):
    for name in ("BVLLM_INDEX", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert str(default_folder()) == folder
