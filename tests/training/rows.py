"""Rows in memory and in a file: questions about clips of a few frames, and questions about nothing."""

import json
from dataclasses import replace

import torch

from bvllm.data.collate import Collator
from bvllm.data.encode import Example
from bvllm.training.rows import Corpus, random_budget
from tests.data.rows import video as draw_video

FRAMES = (3, 1, 0, 2, 4, 0)  # by the row's number; 0 is text alone


class DrawnRows:
    """Rows made from their number alone; the label follows from the question, so that a loss can fall."""

    def __init__(self, processor, count=24, budget=None, rows_per_step=1):
        self.processor, self.count = processor, count
        self.budget, self.rows_per_step = budget, rows_per_step

    def __len__(self):
        return self.count

    def __getitem__(self, position):
        number = position % self.count
        frames = FRAMES[number % len(FRAMES)]
        noise = torch.Generator().manual_seed(number)
        side = self.processor.video_processor.size["height"]
        slots, budget = self.processor.placeholders, None
        if self.budget is not None:
            budget = self.budget.at(position // self.rows_per_step)
            slots = replace(slots, budget_tokens=budget)
        visual = [self.processor.video_token_id] * (slots.count(frames) if frames else 0)
        question = (torch.arange(3) + 6 + number % 7).tolist()
        answer = list(range(10 + number % 7, 12 + 2 * (number % 7)))
        ids = torch.tensor([*visual, *question, *answer])
        labels = torch.tensor([-100] * (len(visual) + len(question)) + answer)
        pixels = torch.randint(0, 256, (frames, 3, side, side), generator=noise).byte()
        seconds = torch.arange(frames, dtype=torch.float64)
        clips = (frames,) if frames else ()
        return Example(ids, labels, pixels, seconds, clips, torch.tensor(question), budget)


def open_drawn(settings, stage, processor, folder):
    budget = random_budget(settings)
    rows = DrawnRows(processor, budget=budget, rows_per_step=settings.alignment.batch)
    held_out = DrawnRows(processor, 7) if settings.data.evaluate else None
    return Corpus(rows, Collator(processor), held_out, {"rows": len(rows)})


def write_rows(folder):
    """A file of three questions about a video of 20 s and one about nothing."""
    draw_video(folder / "v.mp4", frames=40, fps=2)
    asked = [("<video>\nwhich colour ?", said) for said in ("red", "blue", "green")]
    rows = [
        {"id": str(k), "conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]}
        for k, (q, a) in enumerate([*asked, ("what is red ?", "the star")])
    ]
    rows = [row | ({"video": "v.mp4"} if k < len(asked) else {}) for k, row in enumerate(rows)]
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder / "rows.json"
