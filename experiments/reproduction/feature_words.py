"""What can be read off each frame feature: words of what a frame shows, by a linear map.

python -m experiments.reproduction.feature_words miniature      # the folder of `make reproduce`

Looks for a cause behind Tables 4 and 7 in miniature. Ridge regression from a feature of the training bank to
the words of its frames (of the needle, in the plain world; the names of all things, in the busy one), then
the mean over words of the area under the ROC curve on the exam bank: 0.5 is chance.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from bvllm.nano.feature_cache import FeatureCache
from bvllm.synthetic.sampling import describe
from experiments.reproduction.prepare import scale_of
from experiments.reproduction.train import banks_of

PENALTY, OFTEN = 10.0, 20  # frames that show a word, for it to be learned
FEATURES: dict[str, Callable[[FeatureCache], Tensor]] = {
    "[CLS]": lambda bank: bank.frames,
    "mean of patches": lambda bank: bank.patches.float().mean(dim=1),
    "maximum of patches": lambda bank: bank.patches.float().amax(dim=1),
}


def words_of(bank: FeatureCache, world: str) -> list[set[str]]:
    """What each frame of one world shows."""
    if world == "plain":
        return [set() if n is None else set(describe(n).split()) for n in bank.pool.needles]
    assert bank.busy is not None  # the banks hold both worlds
    return [{t.words for t in scene.seen(age)} for scene in bank.busy.scenes for age in range(scene.seconds)]


def readable(train: FeatureCache, exam: FeatureCache, world: str, feature: str) -> float:
    """The mean area under the ROC curve of the words that both banks show often enough."""
    told, asked = words_of(train, world), words_of(exam, world)
    known = sorted(set().union(*told) & set().union(*asked))
    known = [word for word in known if sum(word in words for words in told) > OFTEN]
    wanted, truth = (torch.tensor([[w in words for w in known] for words in some]) for some in (told, asked))
    x, y = (_of_world(FEATURES[feature](bank), bank, world) for bank in (train, exam))
    mean, spread = x.mean(dim=0), x.std(dim=0) + 1e-6
    x, y = ((part - mean) / spread for part in (x, y))
    share = wanted.double().mean(dim=0)
    ridge = x.T @ x + PENALTY * torch.eye(x.shape[1], dtype=x.dtype)
    scores = y @ torch.linalg.solve(ridge, x.T @ (wanted.double() - share))
    areas = [area(scores[:, k], truth[:, k]) for k in range(len(known)) if 0 < truth[:, k].sum() < len(y)]
    return sum(areas) / len(areas)


def _of_world(features: Tensor, bank: FeatureCache, world: str) -> Tensor:
    plain = len(bank.pool)
    return (features[:plain] if world == "plain" else features[plain:]).double()


def area(scores: Tensor, truth: Tensor) -> float:
    """Under the ROC curve: how often a true one is above a false one.

    Example:
        >>> area(torch.tensor([0.1, 0.9, 0.4]), torch.tensor([False, True, True]))
        1.0
    """
    ranks, true = scores.argsort().argsort().double() + 1, int(truth.sum())
    return float((ranks[truth].sum() - true * (true + 1) / 2) / (true * (len(truth) - true)))


if __name__ == "__main__":
    home = Path(sys.argv[1])
    banks = [plan.read(home) for plan in banks_of(scale_of(home))]
    for named in FEATURES:
        found = {world: readable(*banks, world, named) for world in ("busy", "plain")}
        print(named, " ".join(f"{world} {value:.3f}" for world, value in found.items()))
