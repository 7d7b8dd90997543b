"""Write the README of a saved model: how it is loaded, since transformers alone does not know its type."""

import os
from pathlib import Path
from typing import Any

NAME = "README.md"
CARD = """---
library_name: bvllm
pipeline_tag: video-text-to-text
---

# A B-VLLM

Saved by bvllm, which brings the model's classes. transformers' Auto classes know them once `bvllm.hf` was
imported. Without that import they ask for a newer transformers, or give a bare tokenizer as the processor.

```python
import bvllm.hf
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained(folder)
processor = AutoProcessor.from_pretrained(folder)
```

For questions, in one line: `bvllm.load_model(folder)`, or `bvllm ask VIDEO QUESTION --model FOLDER`.

What it was trained on, and how often it is right, stands here once somebody has measured it.
"""


def write_card(folder: str | os.PathLike[str]) -> None:
    """Write the README into a model's folder, unless it has one."""
    file = Path(folder, NAME)
    if not file.exists():
        file.write_text(CARD, encoding="utf-8")


class SavesCard:
    """What a model class inherits, before those of transformers, so that saved folders explain themselves."""

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], is_main_process: bool = True, **kwargs: Any
    ) -> None:
        """As upstream, with a README, unless there is one."""
        super().save_pretrained(save_directory, is_main_process=is_main_process, **kwargs)  # type: ignore[misc]
        if is_main_process:
            write_card(save_directory)
