"""Hold an answer: the text, the frames it rests on, what it cost, the settings asked for and used."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from bvllm.common.reply import named_letter
from bvllm.common.text import LETTERS, format_clock
from bvllm.inference.model import VisualTokens
from bvllm.video import VideoInfo, VideoReport

MOST_TIMES, ENDS = 40, 12  # frames whose times a line names, and of more how many at either end


class ChosenFrame(NamedTuple):
    """A frame that the answer rests on.

    Attributes:
        index: its place in the sampled sequence.
        seconds: its presentation time.
        score: share of the selector's weight that this frame got from the query that chose it, in [0, 1]. It
            compares frames of this video and says nothing about whether the answer is right.
        clip: number of its video or picture, where the question is about several.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which frames do not need
    seconds: float
    score: float
    clip: int = 0


class ClipShare(NamedTuple):
    """What of an answer's budget one of several videos and pictures was given.

    Attributes:
        name: what it was named.
        kind: whether it was shown as a "video" or as a picture ("image").
        frames_total: frames that were sampled of it and encoded.
        patches_per_frame: patches the vision tower cuts each into.
        frames: that were chosen.
        tokens: that the language model was given of it.
    """

    name: str
    kind: str
    frames_total: int
    patches_per_frame: int
    frames: int
    tokens: int


@dataclass(frozen=True)
class QuestionSettings:
    """The knobs of one question, as asked for or as used.

    Attributes:
        fps: frames sampled per second of video; None where the frames were given, not sampled.
        tokens: visual tokens allowed.
        frames: frames that may be chosen.
        select: how frames are chosen: "learned" by the model's own selector, else the method's name.
        max_new_tokens: length limit of the answer.
        methods: the method in each slot of the pipeline, by name: those asked for, or all that were used.
    """

    fps: float | None
    tokens: int
    frames: int
    select: str
    max_new_tokens: int
    methods: Mapping[str, str] = field(default_factory=dict)


class BudgetStep(NamedTuple):
    """One try of `--budget auto`.

    Attributes:
        budget: tokens allowed.
        tokens: visual tokens that the model was given.
        margin: how far the likeliest option was ahead of the next; of an open question 1 where the words were
            the same as in the try before, else 0, and None in the first.
    """

    budget: int
    tokens: int
    margin: float | None


@dataclass(frozen=True)
class Answer:
    """One answer to one question about one video.

    Attributes:
        question: the user's text, without its options.
        options: the options offered, empty for an open question.
        text: the answer; one of the options, word for word, where there are options.
        free_text: what the model says when it is not held to the options, evidence included.
        letter: of the option that is the answer; None where there are none.
        likelihoods: how likely each option was as the reply, among all options; none is the probability of
            being right.
        doubts: why the answer is a guess, each a clause ("the model does not know ...").
        question_left_out: tokens at the beginning of the question that what chooses frames did not read.
        subtitles, subtitles_left_out: lines beside the video that the language model read, and of the part
            asked about those that the prompt had no room for.
        frames: the frames it rests on, oldest first.
        tokens: visual tokens that the language model was given; the mean over its layers, rounded up, where
            it dropped some inside.
        patches_per_frame: patches the vision tower cuts a frame into.
        frames_total: frames that were sampled and encoded.
        timings: seconds per step.
        asked, used: settings as asked for, and as they were after the limits of model and video.
        visual: the visual tokens themselves, each traceable to its frame and patch.
        budget_steps: what was tried before, this answer last, where the budget followed from the question.
        clips: the videos and pictures, in the order of the prompt, where the question is about several;
            `frames` are then those of the first, of the second, and so on.
    """

    question: str
    options: tuple[str, ...]
    text: str
    free_text: str
    letter: str | None
    likelihoods: tuple[float, ...]
    doubts: tuple[str, ...]
    question_left_out: int
    subtitles: int
    subtitles_left_out: int
    frames: tuple[ChosenFrame, ...]
    tokens: int
    patches_per_frame: int
    frames_total: int
    timings: Mapping[str, float] = field(compare=False)
    asked: QuestionSettings
    used: QuestionSettings
    visual: VisualTokens = field(compare=False, repr=False)
    budget_steps: tuple[BudgetStep, ...] = ()
    clips: tuple[ClipShare, ...] = ()

    @property
    def tokens_spent(self) -> int:
        """Visual tokens of all tries together."""
        return sum(step.tokens for step in self.budget_steps) if self.budget_steps else self.tokens

    @property
    def trace(self) -> dict[str, object]:
        """How the answer came about, ready for `json.dumps`, as `--json` tells it but for the video.

        Frames with times and tokens, settings asked for and used, steps of an automatic budget, timings.
        """
        return _plain_answer(self)

    @property
    def own_letter(self) -> str | None:
        """The option that the free words name; None where they name none, or there are none."""
        return named_letter(self.free_text, self.options)

    @property
    def equal_options(self) -> tuple[str, ...]:
        """Letters of options that say the same, as `AC`; they count as one, with what both are likely."""
        places: dict[str, str] = {}
        for letter, option in zip(LETTERS, self.options):
            places[option] = places.get(option, "") + letter
        return tuple(letters for letters in places.values() if len(letters) > 1)

    @property
    def tokens_per_layer(self) -> tuple[int, ...]:
        """Visual tokens that each layer of the language model saw; empty where it dropped none inside."""
        return self.visual.pruning[0].tokens_per_layer if self.visual.pruning else ()

    @property
    def tokens_per_frame(self) -> list[int]:
        """How many of the tokens that entered stand on each of `frames`: a merged token stands on one."""
        found: list[int] = []
        for clip in range(max(1, len(self.clips))):
            standing = Counter(self.visual.tokens[clip].chosen.tolist() if self.visual.tokens else [])
            found += [standing[row] for row in range(sum(frame.clip == clip for frame in self.frames))]
        return found


def doubt_line(answer: Answer) -> str:
    """Why the answer is a guess, in one line; empty where nothing speaks against it."""
    return f"a guess: {'; '.join(answer.doubts)}" if answer.doubts else ""


def notes_lines(answer: Answer) -> list[str]:
    """What of the question did not count as it was written, a line for each."""
    lines = [
        f"options {' and '.join(letters)} are the same text: they count as one"
        for letters in answer.equal_options
    ]
    if answer.budget_steps:
        tries = ", ".join(f"{step.tokens} tokens ({_sureness(step, answer)})" for step in answer.budget_steps)
        lines.append(f"budget by the question: {tries}; {answer.tokens_spent} in all")
    if answer.question_left_out:
        lines.append(
            f"the first {answer.question_left_out} tokens of the question do not reach what chooses frames"
        )
    without = answer.tokens_per_frame.count(0)
    if without and answer.used.methods.get("merge_tokens") == "bipartite":
        lines.append(
            f"{without} of {len(answer.frames)} chosen frames have no token: the budget of "
            f"{answer.used.tokens} is below the number of frames, which are thinned evenly"
        )
    used = answer.used.methods
    thinned = used.get("select_frames") in ("uniform", "none")  # another method chooses, it does not thin
    if thinned and used.get("sample_tokens") == "dynamic" and len(answer.frames) < answer.frames_total:
        rate = (
            ""
            if answer.used.fps is None
            else (
                f", so the rate falls from {answer.used.fps:g} to "
                f"{answer.used.fps * len(answer.frames) / answer.frames_total:.3g} frames a second"
            )
        )
        lines.append(
            f"{len(answer.frames)} of {answer.frames_total} sampled frames are read, the most that the model "
            f"or the budget of {answer.used.tokens} has room for{rate}"
        )
    if answer.subtitles_left_out:
        whole = answer.subtitles + answer.subtitles_left_out
        lines.append(
            f"{answer.subtitles_left_out} of {whole} subtitles are left out, those furthest from the chosen "
            "frames: name a part of the video to have them all"
        )
    return lines


def _sureness(step: BudgetStep, answer: Answer) -> str:
    """What a try said of itself, in words."""
    if answer.options:
        return f"margin {step.margin:.2f}"
    return "first try" if step.margin is None else "same words" if step.margin else "other words"


def answer_line(answer: Answer) -> str:
    """The answer, with its letter where it is an option."""
    return answer.text if answer.letter is None else f"{answer.text} ({answer.letter})"


def own_words(answer: Answer) -> str:
    """What the model says when it is not held to the options; empty where that is no more than the answer."""
    same = not answer.options or answer.free_text in (answer.text, answer_line(answer))
    return "" if same else answer.free_text


def cost_line(answer: Answer) -> str:
    """What the answer cost, as `600 frames x 64 patches = 38 400 tokens -> 31 frames, 512 tokens`."""
    if answer.clips:
        parts = "; ".join(
            f"{name_of(k, clip)}: {_count(clip.frames_total, 'frame')} -> {clip.frames}, "
            f"{_count(clip.tokens, 'token')}"
            for k, clip in enumerate(answer.clips)
        )
        whole = sum(clip.frames_total * clip.patches_per_frame for clip in answer.clips)
        return f"{_count(whole, 'token')} -> {_count(answer.tokens, 'token')} ({parts})"
    total, patches, chosen = answer.frames_total, answer.patches_per_frame, len(answer.frames)
    layers = [f"{k} x {count}" for count, k in Counter(answer.tokens_per_layer).items()]
    inside = f" on average over the layers ({', '.join(layers)})" if layers else ""
    return (
        f"{_count(total, 'frame')} x {_count(patches, 'patch', 'patches')} = "
        f"{_count(total * patches, 'token')} -> {_count(chosen, 'frame')}, {_count(answer.tokens, 'token')}"
        f"{inside}"
    )


def times_line(answer: Answer) -> str:
    """When the frames are that the answer rests on, as `00:04 00:19`; of very many the first and the last."""
    if answer.clips:
        return "; ".join(
            f"{name_of(k, clip)} {_times(answer, k)}" if clip.kind == "video" else name_of(k, clip)
            for k, clip in enumerate(answer.clips)
        )
    return _times(answer, 0)


def _times(answer: Answer, clip: int) -> str:
    times = [format_clock(frame.seconds) for frame in answer.frames if frame.clip == clip]
    if len(times) > MOST_TIMES:
        times = [*times[:ENDS], "...", *times[-ENDS:]]
    return " ".join(times)


def name_of(number: int, clip: ClipShare) -> str:
    """Which of several videos and pictures is meant, as `video 2`; numbers are those of the prompt's order.

    Example:
        >>> name_of(1, ClipShare("b.jpg", "image", 1, 9, 1, 9))
        'picture 2'
    """
    return f"{'video' if clip.kind == 'video' else 'picture'} {number + 1}"


def answer_as_json(
    answer: Answer, info: VideoInfo | Sequence[VideoInfo], report: VideoReport | Sequence[VideoReport]
) -> dict[str, object]:
    """The answer and what is known of its video as one JSON object: plain numbers, strings and lists.

    Args:
        answer: of any kind.
        info, report: of its video, or of each of its clips, in their order.
    """
    found = _plain_answer(answer)
    if isinstance(info, VideoInfo) and isinstance(report, VideoReport):
        return found | {"video": {**asdict(info), "report": report.as_json()}}
    assert not isinstance(info, VideoInfo)
    assert not isinstance(report, VideoReport)
    rows = zip(answer.clips, info, report, strict=True)
    return found | {
        "clips": [{**clip._asdict(), "video": {**asdict(i), "report": r.as_json()}} for clip, i, r in rows]
    }


def _plain_answer(answer: Answer) -> dict[str, object]:
    return {
        "doubts": list(answer.doubts),
        "answer": answer.text,
        "letter": answer.letter,
        "free_text": answer.free_text,
        "own_letter": answer.own_letter,
        "question": answer.question,
        "options": list(answer.options),
        "likelihoods": list(answer.likelihoods),
        "equal_options": list(answer.equal_options),
        "question_left_out": answer.question_left_out,
        "subtitles": answer.subtitles,
        "subtitles_left_out": answer.subtitles_left_out,
        "tokens": answer.tokens,
        "tokens_per_layer": list(answer.tokens_per_layer),
        "budget_steps": [step._asdict() for step in answer.budget_steps],
        "tokens_spent": answer.tokens_spent,
        "patches_per_frame": answer.patches_per_frame,
        "frames_total": answer.frames_total,
        "frames": [
            {**_plain_frame(frame, bool(answer.clips)), "tokens": tokens}
            for frame, tokens in zip(answer.frames, answer.tokens_per_frame)
        ],
        "timings": {step.replace(" ", "_"): seconds for step, seconds in answer.timings.items()},
        "settings": {"asked": asdict(answer.asked), "used": asdict(answer.used)},
    }


def _plain_frame(frame: ChosenFrame, several: bool) -> dict[str, object]:
    found = {**frame._asdict(), "time": format_clock(frame.seconds)}
    if not several:
        del found["clip"]
    return found


def _count(number: int, one: str, many: str | None = None) -> str:
    """A count with its noun; thousands are separated by a space, which cannot be read as a decimal point."""
    noun = one if number == 1 else many or one + "s"
    return f"{number:,} {noun}".replace(",", " ")


Settings = QuestionSettings  # the name until 0.1, for one release
