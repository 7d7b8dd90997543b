"""Write down what nano knows: the world's words and wordings, and a probe for frames that show a needle."""

import torch
from torch import Tensor
from torch.nn import functional as F

from bvllm.model.knowledge import Knowledge
from bvllm.nano.examples import LIST_STEMS
from bvllm.synthetic import phrases
from bvllm.synthetic.busy.phrases import asked_stems
from bvllm.synthetic.tokenizer import world_words

ABOUT = "it knows the shapes, words and pictures that bvllm world puts into videos"
SMALL_WORDS = ("an", "of")
DECAY = 1e-3
STEPS = 200
MISSED = 0.005  # share of the frames that show something which the probe may miss


def knowledge_of(frames: Tensor, shows_needle: Tensor, *, busy: bool = False) -> Knowledge:
    """What a nano knows that was trained on these frames.

    Args:
        frames: (n, C) features.
        shows_needle: (n,) bool.
        busy: whether it was trained on busy scenes, too.
    """
    stems = [*phrases.all_stems(), *LIST_STEMS, *(asked_stems() if busy else ())]
    weights, bias = fit_probe(frames, shows_needle)
    return Knowledge(
        ABOUT,
        tuple(dict.fromkeys([*world_words(busy=busy), *SMALL_WORDS])),
        tuple(dict.fromkeys(stems)),
        tuple(round(float(w), 5) for w in weights),
        round(float(bias), 5),
    )


def fit_probe(frames: Tensor, shows: Tensor) -> tuple[Tensor, Tensor]:
    """Logistic regression with a little weight decay: (C,) weights, and a bias, of plain features."""
    mean, spread = frames.mean(dim=0), frames.std(dim=0) + 1e-6
    seen, wanted = (frames - mean) / spread, shows.float()
    weights = torch.zeros(frames.shape[1], requires_grad=True)
    bias = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=STEPS)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits(seen @ weights + bias, wanted)
        value = value + DECAY * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        plain = weights / spread
        scores = frames[shows] @ plain
        # Zero lies where nearly all frames that show something are above it, not halfway to bare frames:
        # footage that nobody trained for is to fall below.
        return plain, -scores.quantile(MISSED)
