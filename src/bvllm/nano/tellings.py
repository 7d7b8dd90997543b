"""Tell things as the language model's own vectors: the sum of a thing's words and of where it is.

The language model was warmed up on them (`nano.language`), so what learns to give them is understood.
"""

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bvllm.nano.captions import NOWHERE
from bvllm.nano.examples import Told
from bvllm.nano.language import Where

SUMMED = 3  # words of a usual telling, whose sum varies as much more than one


class Tellings:
    """Tellings as vectors; each piece of text is looked up once.

    Attributes:
        variance: of what is told, about.

    Args:
        table: (V, D) the language model's embeddings.
        tokenizer: of its words.
        where: what tells of places, as the language model was warmed up with it.
    """

    def __init__(self, table: Tensor, tokenizer: PreTrainedTokenizerBase, where: Where) -> None:
        self.table, self.tokenizer, self.where = table.detach(), tokenizer, where
        self.known: dict[str, Tensor] = {}
        self.variance = float(self.table.var()) * SUMMED

    @torch.no_grad()
    def vectors(self, told: list[Told]) -> Tensor:
        """(n, D)."""
        if not told:
            return self.table[:0]
        for words in {one.words for one in told} - self.known.keys():
            ids = self.tokenizer(words, add_special_tokens=False).input_ids
            self.known[words] = self.table[ids].sum(dim=0)
        places = torch.tensor([one.place or NOWHERE for one in told])
        found: Tensor = torch.stack([self.known[one.words] for one in told]) + self.where(places)
        return found
