"""Lay out examples as captioned videos: what their frames show, told in words, then a question and its reply.

A frame of a plain video is one vector, its caption; a frame of a busy one is a vector for each thing told.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bvllm.nano.busy_examples import BusyExample, busy_examples
from bvllm.nano.busy_pool import BusyPool
from bvllm.nano.examples import QUESTIONS_PER_VIDEO, Example, Told, examples
from bvllm.synthetic.tokenizer import ASSISTANT, END, USER
from bvllm.synthetic.vocabulary import COLOURS, Split

IGNORE = -100
NOWHERE = (0.0, 0.0, 0.0)
BUSY_SHARE = 0.6  # of the examples, where there are busy scenes
AnyExample = Example | BusyExample
SPLITS = 3  # parts of a batch, by length


@dataclass(frozen=True)
class CaptionedVideo:
    """One example in tokens.

    Attributes:
        frames: for each vector that tells of a frame, the ids of its words.
        seconds: when its frame is shown.
        places: where the thing is that it tells of (see `Told`), zeros where the words say all.
        ids: the question and the reply.
        labels: the reply's ids in their places, IGNORE elsewhere.
        letter: how many ids at the end name the option's letter and end the reply; 0 without options.
    """

    frames: list[list[int]]
    seconds: list[float]
    places: list[tuple[float, float, float]]
    ids: list[int]
    labels: list[int]
    letter: int = 0

    def __len__(self) -> int:
        return 1 + len(self.frames) + len(self.ids)


class CaptionEncoder:
    """Turns examples into captioned videos; each piece of text is tokenized once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.known: dict[str, list[int]] = {}
        self.colours: list[int] = tokenizer.convert_tokens_to_ids(list(COLOURS))

    def tokens(self, text: str) -> list[int]:
        if text not in self.known:
            if len(self.known) > 50_000:
                self.known.clear()
            self.known[text] = self.tokenizer(text, add_special_tokens=False).input_ids
        return self.known[text]

    def encode(self, example: AnyExample, shown: list[int], rng: np.random.Generator) -> CaptionedVideo:
        """The frames `shown` in words, then the question and its answer; colours trade names at random.

        A shape meets only some colours in the training split. Without the trade, the LLM would learn which,
        and disbelieve its eyes when a test video shows another.
        """
        trade = self.trade(rng)
        told = [(float(t), one) for t in shown for one in example.told(t, rng)]
        return self.lay_out(example, told, trade)

    def trade(self, rng: np.random.Generator) -> dict[int, int]:
        """A random new name for every colour."""
        return dict(zip(self.colours, rng.permutation(self.colours).tolist(), strict=True))

    def lay_out(
        self, example: AnyExample, told: list[tuple[float, Told]], trade: dict[int, int]
    ) -> CaptionedVideo:
        """What is told, each with its second, then the question and its answer; words of `trade` replaced."""
        frames = [self.tokens(one.words) for _, one in told]
        places = [one.place or NOWHERE for _, one in told]
        prompt = self.tokens(example.prompt) + self.tokens(ASSISTANT)
        reply = self.tokens(example.reply) + self.tokens(END)
        frames = [[trade.get(w, w) for w in words] for words in frames]
        text = [trade.get(w, w) for w in prompt + reply]
        labels = [IGNORE] * len(prompt) + text[len(prompt) :]
        said = len(self.tokens(example.question.answer))
        lettered = example.reply != example.question.answer
        letter = len(reply) - said if lettered else 0
        return CaptionedVideo(frames, [t for t, _ in told], places, text, labels, letter)


def all_examples(
    pool: BusyPool | None,
    seconds: tuple[float, float],
    seed: int,
    *,
    split: Split = "train",
    busy: float = BUSY_SHARE,
) -> Iterator[AnyExample]:
    """Endless examples of both worlds; of the plain one alone where there are no busy scenes."""
    plain = examples(split, seconds, seed)
    if pool is None:
        yield from plain
        return
    rng, crowded = np.random.default_rng((seed, 53)), busy_examples(pool, seconds, seed)
    while True:
        yield next(crowded) if rng.random() < busy else next(plain)


def all_videos(
    pool: BusyPool | None,
    seconds: tuple[float, float],
    seed: int,
    *,
    split: Split = "train",
    busy: float = BUSY_SHARE,
    questions: int = QUESTIONS_PER_VIDEO,
) -> Iterator[list[AnyExample]]:
    """Endless videos of both worlds, each with all that is asked about it.

    Args:
        questions: the most about a busy video.
    """
    plain = _by_video(examples(split, seconds, seed))
    if pool is None:
        yield from plain
        return
    rng = np.random.default_rng((seed, 53))
    crowded = _by_video(busy_examples(pool, seconds, seed, questions=questions))
    while True:
        yield next(crowded) if rng.random() < busy else next(plain)


def _by_video(stream: Iterator[AnyExample]) -> Iterator[list[AnyExample]]:
    """Examples of one video, which come in a row, together."""
    found = [next(stream)]
    for example in stream:
        if example.timeline is not found[0].timeline:
            yield found
            found = []
        found.append(example)


def oracle_frames(example: AnyExample, rng: np.random.Generator) -> list[int]:
    """Frames that a good selector would choose: all that show what is asked, and some that do not.

    A scene of several seconds is shown by its first and its last frame, as the selector's queries find it.
    """
    if isinstance(example, BusyExample):
        return sorted({*example.key_frames(), *(t for t in example.other_frames() if rng.random() < 0.15)})
    chosen = set(example.asked_frames())
    chosen |= {t for t in example.other_frames() if rng.random() < 0.3}
    bare = int(rng.integers(0, 4)) if chosen else int(rng.integers(4, 12))
    return sorted(chosen | set(rng.integers(0, example.frames, bare).tolist()))


@dataclass(frozen=True)
class CaptionBatch:
    """Captioned videos side by side, padded on the right.

    Attributes:
        ids: (B, S) token ids; a captioned frame has the id of padding.
        labels: (B, S).
        mask: (B, S) 1 where there is anything.
        captioned: (B, S) True at the places of captioned frames.
        seconds: (frames,) of all captioned frames, in reading order.
        words, offsets: the captions' ids in a row, and where each caption begins.
        places: (frames, 3) see `Told`.
        letters: (B, S) True where a reply names its option's letter.
    """

    ids: Tensor
    labels: Tensor
    mask: Tensor
    captioned: Tensor
    seconds: Tensor
    words: Tensor
    offsets: Tensor
    places: Tensor
    letters: Tensor


def collate(batch: list[CaptionedVideo], start: int, pad: int) -> CaptionBatch:
    """Lay out every example as: `start`, its frames, its text."""
    longest = max(len(t) for t in batch)
    ids, labels = torch.full((len(batch), longest), pad), torch.full((len(batch), longest), IGNORE)
    mask, captioned = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    letters = torch.zeros_like(captioned)
    for row, example in enumerate(batch):
        text = 1 + len(example.frames)
        ids[row, 0] = start
        ids[row, text : len(example)] = torch.tensor(example.ids)
        labels[row, text : len(example)] = torch.tensor(example.labels)
        mask[row, : len(example)] = 1
        captioned[row, 1:text] = True
        letters[row, len(example) - example.letter : len(example)] = True
    captions = [words for example in batch for words in example.frames]
    offsets = torch.tensor([0, *(len(words) for words in captions)])[:-1].cumsum(0)
    seconds = torch.tensor([s for example in batch for s in example.seconds])
    # Videos of which nothing is told leave these empty, but not shapeless.
    places = torch.tensor([place for example in batch for place in example.places]).reshape(-1, 3)
    words = torch.tensor([word for caption in captions for word in caption], dtype=torch.long)
    return CaptionBatch(ids, labels, mask, captioned, seconds, words, offsets, places, letters)


def batches_of(
    videos: Iterator[CaptionedVideo], tokenizer: PreTrainedTokenizerBase, batch: int
) -> Iterator[list[CaptionBatch]]:
    """Batches of an endless stream, each in SPLITS parts of like length."""
    start = tokenizer.convert_tokens_to_ids(USER)
    while True:
        some = sorted(islice(videos, batch), key=len)
        parts = np.array_split(np.arange(batch), SPLITS)
        yield [collate([some[k] for k in part], start, tokenizer.pad_token_id) for part in parts]
