"""Begin B-VLLM's prompt: from what an earlier question left of its clip, or with tokens dropped inside."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, LogitsProcessor, PreTrainedModel

from bvllm.inference.model import VisualTokens
from bvllm.inference.session import PromptCache
from bvllm.model.backbones.pruning.plan import carried_out


@contextmanager
def begun(
    model: PreTrainedModel, ids: Tensor, visual: VisualTokens, prompt: PromptCache | None
) -> Iterator[dict[str, Any]]:
    """What a call of the model goes on from: the prompt's beginning, or nothing yet where tokens drop inside.

    What one question drops another may need, so nothing is remembered then.

    Args:
        ids: (1, S) the whole prompt.
        visual: its visual tokens.
        prompt: what an earlier question left; used and kept.
    """
    if visual.pruning is None:
        yield {"past_key_values": read_clip(model, ids, visual, prompt or PromptCache())}
        return
    with carried_out(model, visual.pruning, ids == model.config.video_token_id) as given:
        yield {**given, "mm_encoder_outputs": {"video": visual}}


def read_clip(model: Any, ids: Tensor, visual: VisualTokens, prompt: PromptCache) -> DynamicCache:
    """Keys and values of the prompt up to its last visual token, from memory where they are there."""
    placeholders = (ids[0] == model.config.video_token_id).nonzero()
    beginning = ids[:, : int(placeholders[-1]) + 1]
    first, *more = visual.pooler_output
    tokens = torch.cat([first, *more]) if more else first  # of several clips, too
    states = prompt.find(beginning, tokens)
    if states is None:
        states = DynamicCache(config=model.config.text_config)
        model.read_prompt(beginning, visual, states)
        prompt.keep(beginning, tokens, states)
    return states


class Finite(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped here
    """Refuse logits that are no numbers: their arg-max would be an answer made of nothing.

    Args:
        check: raises for values that are none, of which it is told the name.
    """

    def __init__(self, check: Callable[[Tensor, str], None]) -> None:
        self.check = check

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        # Suppressed tokens are minus infinity on purpose.
        self.check(scores.amax(dim=-1), "logits")
        return scores
