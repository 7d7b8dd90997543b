"""A LoRA on a wrapped model, tuned under a budget: the page's own way to do it."""

import re
from pathlib import Path

import pytest
import torch

from bvllm.common.text import Question
from bvllm.inference.balance import balance
from bvllm.inference.balanced_prompt import with_replies
from bvllm.types import Budget, FrameSelection
from tests.model.backbones.tiny_families import make

PAGE = Path(__file__).parents[3] / "docs" / "hugging-face.md"
STEPS = 25


@pytest.mark.parametrize("kind", ["llava_onevision", "qwen2_5_vl"])
def test_the_loss_falls_and_merging_keeps_the_logits(kind):
    model, processor = make(kind)
    video_llm = balance(model, processor, pipeline="uniform", frame_size=(24, 24))
    generator = torch.Generator().manual_seed(1)
    rows = []
    for question, answer in (("which colour is the star", "red"), ("where does it move", "blue green")):
        frames = torch.randint(0, 256, (4, 3, 24, 24), generator=generator, dtype=torch.uint8)
        asked = video_llm.read(Question(question))
        patches = video_llm.patch_features(frames).clone()
        selection = FrameSelection.of(torch.arange(4), torch.arange(4.0).double())
        visual = video_llm.reduce(patches, selection, asked, Budget(tokens=12))
        rows.append((asked, visual, answer))
    [code] = re.findall(r"```python title=tune\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    seen: dict = {"video_llm": video_llm, "rows": rows, "steps": STEPS}
    exec(compile(code, str(PAGE), "exec"), seen)
    losses = seen["losses"]
    assert losses[-1] < 0.5 * losses[0]
    tuned, given = seen["tuned"].eval(), video_llm.prompt.inputs(*rows[0][:2])
    with torch.no_grad():
        before = tuned(**given).logits
        merged = tuned.merge_and_unload()
        torch.testing.assert_close(merged(**given).logits, before, atol=2e-4, rtol=1e-4)


def test_a_row_without_a_reply_is_refused():
    video_llm = balance(*make("llava_onevision"), pipeline="uniform", frame_size=(24, 24))
    with pytest.raises(ValueError, match="replies must be one for each of 1 rows"):
        with_replies(video_llm.prompt, [(video_llm.read(Question("what")), None)], [[]])
