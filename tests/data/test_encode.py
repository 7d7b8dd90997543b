"""What is learned: worked out by hand, token for token."""

import pytest
import torch

from bvllm.data.dialogue import Dialogue, Media, Turn
from bvllm.data.encode import IGNORED, Encoder, check_template, tokenize
from bvllm.data.faults import InvalidRow
from tests.data.rows import dialogue, video
from tests.model import tiny

CLIP = Media("video", b"not opened here")
TEMPLATE = "{% for m in messages %}{{ m['content'][0]['text'] }} {% endfor %}"


def words(ids):
    return tiny.tokenizer().convert_ids_to_tokens(ids.tolist())


def learned(sequence):
    """The label at each place, "." where nothing is learned."""
    return ["." if label == IGNORED else words(label[None])[0] for label in sequence.labels]


def test_one_round_by_hand():
    left, sequence = tokenize(dialogue("what is red ?", "the star", media=(CLIP,)), [3], tiny.processor())
    # The tiny tokenizer splits at white space, so what touches a mark without one is unknown to it.
    assert (
        words(sequence.input_ids)
        == (
            "<|im_start|> user <|video|> <|video|> <|video|> what is red ? <|im_end|> "
            "<|im_start|> assistant the star <|im_end|>"
        ).split()
    )
    assert learned(sequence) == ". . . . . . . . . . . . the star <|im_end|>".split()
    assert words(sequence.question_ids) == "what is red ?".split()
    assert left.rounds == 1


def test_three_rounds_by_hand():
    row = dialogue("what is red ?", "the star", "is blue the sign ?", "the end", "which ?", "green")
    _, sequence = tokenize(row, [], tiny.processor())
    around = len("<|im_start|> user <|im_end|> <|im_start|> assistant".split())
    question = [["."] * (around + n) for n in (4, 5, 2)]  # words of each question
    assert learned(sequence) == [
        *question[0], "the", "star", "<|im_end|>",
        *question[1], "the", "end", "<|im_end|>",
        *question[2], "green", "<|im_end|>",
    ]  # fmt: skip
    assert len(sequence.question_ids) == 0


def test_only_the_last_answer():
    row = dialogue("what is red ?", "the star", "which ?", "green")
    _, sequence = tokenize(row, [], tiny.processor(), learn="last")
    assert [word for word in learned(sequence) if word != "."] == ["green", "<|im_end|>"]
    assert learned(sequence)[-2:] == ["green", "<|im_end|>"]


def test_a_system_turn_is_never_learned():
    row = dialogue("what is red ?", "the star")
    row = type(row)(row.id, (Turn("system", ("the star is blue",)), *row.turns), row.where)
    _, sequence = tokenize(row, [], tiny.processor())
    assert [word for word in learned(sequence) if word != "."] == ["the", "star", "<|im_end|>"]


def test_marks_in_a_question_do_not_make_an_answer():
    row = dialogue("is <|im_end|> \n <|im_start|> assistant \n blue <|im_end|> red ?", "the star")
    _, sequence = tokenize(row, [], tiny.processor())
    assert [word for word in learned(sequence) if word != "."] == ["the", "star", "<|im_end|>"]


def test_a_long_row_loses_whole_rounds_first():
    row = dialogue("what is red ?", "the star", "which ?", "green", "is blue the end ?", "red")
    everything = len(tokenize(row, [], tiny.processor())[1].input_ids)
    two = len(tokenize(row.without_last_round(), [], tiny.processor())[1].input_ids)
    for limit, rounds, length in [(everything, 3, everything), (everything - 1, 2, two), (two, 2, two)]:
        left, sequence = tokenize(row, [], tiny.processor(), max_tokens=limit)
        assert (left.rounds, len(sequence.input_ids)) == (rounds, length)


def test_media_go_with_their_round():
    row = dialogue("what is red ?", "the star", media=(CLIP,))
    row = type(row)(
        row.id, (*row.turns, Turn("user", (CLIP, "is blue ?")), Turn("assistant", ("red",))), "a:1"
    )
    left, sequence = tokenize(row, [3, 4], tiny.processor(), max_tokens=20)
    assert len(left.media) == 1
    assert int((sequence.input_ids == tiny.VIDEO_ID).sum()) == 3
    assert words(sequence.question_ids) == "what is red ?".split()  # the question that is left


def test_the_last_answer_loses_its_end():
    row = dialogue("what is red ?", "the star is green", media=(CLIP,))
    whole = tokenize(row, [3], tiny.processor())[1]
    for lost in (1, 2, 4):
        _, sequence = tokenize(row, [3], tiny.processor(), max_tokens=len(whole.input_ids) - lost)
        assert torch.equal(sequence.input_ids, whole.input_ids[:-lost])
        assert torch.equal(sequence.labels, whole.labels[:-lost])
        assert int((sequence.labels != IGNORED).sum()) == 5 - lost


@pytest.mark.parametrize("limit", [1, 4, 8, 12])
def test_placeholders_and_the_first_word_of_an_answer_must_fit(limit):
    row = dialogue("what is red ?", "the star", media=(CLIP,))
    with pytest.raises(InvalidRow, match=f"a row must fit {limit} tokens, got 15 in one round") as error:
        tokenize(row, [3], tiny.processor(), max_tokens=limit)
    assert error.value.fault.kind == "too_long"


def test_text_that_holds_the_placeholder_is_refused():
    with pytest.raises(InvalidRow, match=r"text must not hold <\|video\|>, got it"):
        tokenize(dialogue("what is <|video|> ?", "red"), [], tiny.processor())


def test_a_template_must_mark_what_is_learned():
    processor = tiny.processor()
    check_template(processor)
    processor.chat_template = TEMPLATE
    with pytest.raises(ValueError, match="chat_template must put what the assistant says between"):
        check_template(processor)


def test_one_round_at_a_time_with_the_frames_of_its_own_question(tmp_path):
    """Every round has its turn, always the same at a place; what follows it is left out."""
    clip = Media("video", video(tmp_path / "a.mp4", frames=10, fps=2), tmp_path)
    rounds = (
        ("what is red ?", "the star"),
        ("what is blue ?", "the sign"),
        ("which colour is red ?", "at the end"),
    )
    turns = [
        turn
        for number, (question, answer) in enumerate(rounds)
        for turn in (
            Turn("user", (clip, question) if number == 0 else (question,)),
            Turn("assistant", (answer,)),
        )
    ]
    row, encoder = Dialogue("", tuple(turns), "row"), Encoder(tiny.processor(), learn="one")
    seen = []
    for place in range(40):
        example = encoder(row, None, place)
        assert torch.equal(example.input_ids, encoder(row, None, place).input_ids)
        said = "".join(f"{word} " for word in learned(example) if word != ".").strip()
        question = " ".join(words(example.question_ids))
        number = [answer + " <|im_end|>" for _, answer in rounds].index(said)
        assert question == rounds[number][0]
        assert all(answer not in " ".join(words(example.input_ids)) for _, answer in rounds[number + 1 :])
        seen.append(number)
    assert set(seen) == {0, 1, 2}
