"""The stem of a question and its options."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bvllm.common.text import split_options

WORDS = st.text("abc ?", min_size=1).map(str.strip).filter(bool)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Which?\nA. red\nB. blue", ("Which?", ["red", "blue"])),
        ("Which?\n(A) red\n(B) blue\n(C) green\n", ("Which?", ["red", "blue", "green"])),
        ("Which?\nA) red\n  B) blue", ("Which?", ["red", "blue"])),
        ("Two\nlines?\nA. red apple\nB. A. Smith", ("Two\nlines?", ["red apple", "A. Smith"])),
        ("A. is the first letter", ("A. is the first letter", [])),
        ("Which?\nA. red", ("Which?\nA. red", [])),
        ("Which?\nB. red\nC. blue", ("Which?\nB. red\nC. blue", [])),
        ("Which?\nA. red\nC. blue", ("Which?\nA. red\nC. blue", [])),
        ("Which?\nA. red\nB. blue\nAnswer with a letter.", ("Which?", ["red", "blue"])),
        ("a. red\nb. blue", ("a. red\nb. blue", [])),
        ("", ("", [])),
    ],
)
def test_split(text, expected):
    assert split_options(text) == expected


@given(WORDS, st.lists(WORDS, min_size=2, max_size=8), st.sampled_from(["{}. ", "({}) ", "{}) "]))
def test_what_is_joined_comes_apart(stem, options, form):
    lines = [form.format(chr(ord("A") + k)) + option for k, option in enumerate(options)]
    assert split_options("\n".join([stem, *lines])) == (stem, options)
