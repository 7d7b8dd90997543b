"""Methods that were made for pictures: each frame keeps an equal share, and is decided about by itself."""

from dataclasses import dataclass

import torch

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.reduction import Reduction
from bvllm.stages.merge_tokens import equal_shares
from bvllm.stages.method import TokenMethod
from bvllm.stages.sample_tokens import decide_in_groups
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class PictureMethod(TokenMethod):
    """A method that decides about one picture: `assign_frame` says how, and every frame is one.

    Frames share the tokens equally; where they outnumber the tokens they are thinned evenly first.
    """

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment | Reduction:
        """Decide what becomes of each of K tokens, frame by frame."""
        group, counts = tokens.by_frame()
        if len(counts) == 1:
            return self.assign_frame(tokens, keep, signals)
        shares = equal_shares(counts.tolist(), keep)
        return decide_in_groups(self, tokens, group, torch.tensor(shares), signals)

    def assign_frame(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment | Reduction:
        """Decide what becomes of each token of one frame, so that at most `keep` (1..K) are left."""
        raise NotImplementedError
