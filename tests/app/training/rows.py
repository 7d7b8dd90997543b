"""Rows in memory: questions about clips of a few frames, and questions about nothing."""

import torch

from bvllm.app.training.corpus import Corpus
from bvllm.data.collate import Collator
from bvllm.data.encode import Example

FRAMES = (3, 1, 0, 2, 4, 0)  # by the row's number; 0 is text alone


class DrawnRows:
    """Rows made from their number alone; the label follows from the question, so that a loss can fall."""

    def __init__(self, processor, count=24):
        self.processor, self.count = processor, count

    def __len__(self):
        return self.count

    def __getitem__(self, position):
        number = position % self.count
        frames = FRAMES[number % len(FRAMES)]
        noise = torch.Generator().manual_seed(number)
        side = self.processor.video_processor.size["height"]
        visual = [self.processor.video_token_id] * (self.processor.slots.count(frames) if frames else 0)
        question = (torch.arange(3) + 6 + number % 7).tolist()
        answer = list(range(10 + number % 7, 12 + 2 * (number % 7)))
        ids = torch.tensor([*visual, *question, *answer])
        labels = torch.tensor([-100] * (len(visual) + len(question)) + answer)
        pixels = torch.randint(0, 256, (frames, 3, side, side), generator=noise).byte()
        seconds = torch.arange(frames, dtype=torch.float64)
        return Example(ids, labels, pixels, seconds, (frames,) if frames else (), torch.tensor(question))


def open_drawn(settings, stage, processor, folder):
    rows = DrawnRows(processor)
    held_out = DrawnRows(processor, 8) if settings.data.evaluate else None
    return Corpus(rows, Collator(processor), held_out, {"rows": len(rows)})
