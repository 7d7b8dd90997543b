"""Nano's tokenizer: the world's words are one token each, and answers come back as they were."""

import itertools
import re

import numpy as np
import pytest

from bvllm.data.chat import parse_letter
from bvllm.nano.examples import examples
from bvllm.synthetic import phrases, vocabulary
from bvllm.synthetic.busy.tasks import BUSY_TASKS
from bvllm.synthetic.busy.timeline import fresh_scenes, plan_busy
from bvllm.synthetic.tokenizer import (
    ASSISTANT,
    COMMON_WORDS,
    END,
    MARKS,
    PAD,
    UNKNOWN,
    USER,
    VIDEO,
    build_tokenizer,
    world_words,
)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False).input_ids


@pytest.mark.parametrize(
    "words",
    [
        vocabulary.COLOURS, vocabulary.SHAPES, vocabulary.WORDS, vocabulary.ITEMS, vocabulary.LANDMARKS,
        vocabulary.DIRECTIONS, COMMON_WORDS,
    ],
)  # fmt: skip
def test_a_word_of_the_world_is_one_token(tokenizer, words):
    assert {word: len(ids(tokenizer, word)) for word in words} == dict.fromkeys(words, 1)
    assert set(words) <= set(world_words())


def test_no_word_of_a_question_is_unknown_or_spelled(tokenizer):
    for stem in phrases.all_stems():
        pieces = tokenizer.convert_ids_to_tokens(ids(tokenizer, stem.format("red star")))
        words = re.findall(r"[a-z]{2,}", stem.replace("{}", "red star"))
        assert [piece for piece in pieces if len(piece) > 1] == words
        assert UNKNOWN not in pieces


def test_answers_come_back_as_they_were(tokenizer):
    seen = set()
    for example in itertools.islice(examples("test", (8, 3600), seed=4), 200):
        said = example.question.answer
        assert tokenizer.decode(ids(tokenizer, said)) == said
        reply = tokenizer.decode(ids(tokenizer, example.reply), skip_special_tokens=True)
        assert parse_letter(reply) == parse_letter(example.reply)
        assert tokenizer.unk_token_id not in ids(tokenizer, example.prompt + example.reply)
        seen.add(example.question.task)
    assert len(seen) >= 14


def test_what_an_answer_about_a_busy_scene_rests_on_comes_back_as_it_was(tokenizer):
    rng, seen = np.random.default_rng(3), set()
    for _ in range(10):
        order = [str(task) for task in rng.permutation(list(BUSY_TASKS))]
        for question in plan_busy(rng, 60, order, fresh_scenes(rng)).questions:
            assert tokenizer.decode(ids(tokenizer, question.evidence)) == question.evidence
            seen.add(question.task)
    assert len(seen) > 8


def test_case_and_accents_do_not_matter(tokenizer):
    assert ids(tokenizer, "Which COLÓUR is the Star?") == ids(tokenizer, "which colour is the star?")


def test_other_words_are_spelled(tokenizer):
    pieces = tokenizer.convert_ids_to_tokens(ids(tokenizer, "xylophone 2024"))
    assert pieces[:9] == ["x", *(f"##{letter}" for letter in "ylophone")]
    assert UNKNOWN not in pieces
    assert tokenizer.decode(ids(tokenizer, "xylophone")) == "xylophone"


def test_what_has_no_letters_is_unknown(tokenizer):
    assert tokenizer.convert_ids_to_tokens(ids(tokenizer, "\u4e2d")) == [UNKNOWN]


def test_marks_and_special_tokens_are_whole(tokenizer):
    assert len(MARKS) == 16
    for text in (*MARKS, PAD, UNKNOWN, USER, ASSISTANT, END, VIDEO):
        assert len(ids(tokenizer, text)) == 1
    assert (tokenizer.pad_token, tokenizer.eos_token, tokenizer.padding_side) == (PAD, END, "left")


def test_it_is_the_same_every_time_and_after_saving(tokenizer, tmp_path):
    assert build_tokenizer().get_vocab() == tokenizer.get_vocab()
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    text = f"{USER}which word?\nA. river\nB. zebra{ASSISTANT}00:04 = river (A){END}"
    assert ids(again, text) == ids(tokenizer, text)


@pytest.mark.parametrize(
    "said",
    ["00:04, 00:19 = river, candle (C)", "which colour is it?", "00:11, 01:06 = 2", "xylophone, 7", ", then",
     "00:10 red square 13 16: red cross, blue cross 19 22 right: below = red cross"],
)  # fmt: skip
def test_what_is_decoded_first_stays_as_more_follows(tokenizer, said):
    """A stream prints what is new at the end: it must never have to take anything back."""
    pieces = ids(tokenizer, said)
    decoded = [tokenizer.decode(pieces[:count]) for count in range(len(pieces) + 1)]
    assert decoded[-1] == said
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(decoded))
