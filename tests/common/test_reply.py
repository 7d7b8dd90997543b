"""What an option is named by in a free reply, and where the options of a prompt begin and end."""

import pytest

from bvllm.common.reply import named_letter
from bvllm.common.text import Question, split_prompt

COLOURS = ("red", "blue", "green")
SUMS = ("x = 1", "x = 2")
E1 = "Answer with the option's letter from the given choices directly."


@pytest.mark.parametrize(
    "reply, letter",
    [
        ("B", "B"), ("B.", "B"), ("B. blue", "B"), ("B) blue", "B"), ("B: blue", "B"), ("(B) blue", "B"),
        ("**B**", "B"), ("**B.** blue", "B"), ("`B`", "B"), ("# B", "B"), (" b ", None), ("blue", "B"),
        ("Blue.", "B"),
        ("Answer: B", "B"), ("The answer is B.", "B"), ("The correct option is (B).", "B"),
        ("Best option: C", "C"),
        ("answer is: B", "B"), ("(B), because (A) is not shown", "B"), ("B, since (A) is red", "B"),
        ("The star is blue.", "B"), ("The star is red or blue.", None),
        ("It is A man with a red hat.", "A"),
        ("A man walks in.", None), ("A dog", None), ("I cannot tell.", None), ("", None),
        ("D", None), ("(D)", None),
        ("Best", None), ("redder than before", None), ("00:04, 00:19 = blue (A)", "B"), ("00:04 = blue", "B"),
        ("2 (C)", "C"), ("The answer is a red star", "A"), ("Option B is right, option C is not", None),
    ],
)  # fmt: skip
def test_the_option_that_a_reply_names(reply, letter):
    assert named_letter(reply, COLOURS) == letter


@pytest.mark.parametrize(
    "reply, letter", [("x = 2", "B"), ("x = 1 (A)", "A"), ("B. x = 2", "B"), ("00:04 = x = 2", "B")]
)
def test_options_may_hold_an_equals_sign(reply, letter):
    assert named_letter(reply, SUMS) == letter


@pytest.mark.parametrize(
    "below",
    [
        "A. red\nB. blue", "(A) red\n(B) blue", "A) red\nB) blue", "A: red\nB: blue", "A.red\nB.blue",
        "1. red\n2. blue",
        "(1) red\n(2) blue", "A. red\n\nB. blue", "Options:\n(A) red\n(B) blue", "Choices:\nA. red\nB. blue",
        "A. red\nB. blue\n" + E1, "Options:\n(A) red\n(B) blue\nOnly give the best option.\nBest option: (",
        "A. red\nB. blue\nThe best answer is:", "A. red\nB. blue\n\n" + E1 + "\n",
    ],
)  # fmt: skip
def test_the_prompts_of_benchmarks_are_taken_apart(below):
    found = split_prompt(f"Which colour is the star?\n{below}")
    assert (found.stem, found.options) == ("Which colour is the star?", ("red", "blue"))
    tail = below.rpartition("blue")[2].strip()
    assert found.tail == tail
    assert Question.parse(f"Which colour is the star?\n{below}").written.endswith(tail or "B. blue")


@pytest.mark.parametrize(
    "text",
    [
        "Two people are seen:\nA. Smith\nB. Jones\nWho is taller?", "Which?\nA. red",
        "Which?\nB. red\nC. blue", "Which?\nA. red\nC. blue", "Which?\nA. red\nor perhaps\nB. blue",
        "What does the sign say?", "1. red\n2. blue",
    ],
)  # fmt: skip
def test_what_only_looks_like_options_is_part_of_the_question(text):
    assert split_prompt(text).options == ()
    assert split_prompt(text).stem == text
