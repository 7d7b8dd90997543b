"""Complete a saved model's folder: a README that says how it is loaded, and the files beside its weights."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from bvllm.common.files import AUTO_BUDGET
from bvllm.model.knowledge import FILE as KNOWLEDGE
from bvllm.model.text_encoder import WORD_TOWER

NAME, WEIGHTS = "README.md", "model.safetensors"
# Files beside the weights, and the part of the tensors' names whose weights they belong to.
COMPANIONS = {WORD_TOWER: "vision_tower.", KNOWLEDGE: "", AUTO_BUDGET: ""}
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
    """What a model class inherits, before those of transformers, so that saved folders are complete."""

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], is_main_process: bool = True, **kwargs: Any
    ) -> None:
        """As upstream, with a README, and with what lay beside the weights where these did not change."""
        super().save_pretrained(save_directory, is_main_process=is_main_process, **kwargs)  # type: ignore[misc]
        if is_main_process:
            write_card(save_directory)
            keep_companions(Path(str(getattr(self, "name_or_path", ""))), Path(save_directory))


def keep_companions(source: Path, target: Path) -> None:
    """Copy the files that belong to a model's weights to where it was saved, if the weights are the same.

    The word tower belongs to the vision tower; what the model knows, and how sure it must be, to all of it.
    After a training nothing of this would be true any more.
    """
    names = [name for name in COMPANIONS if (source / name).is_file() and not (target / name).exists()]
    if not names or not (source / WEIGHTS).is_file() or not (target / WEIGHTS).is_file():
        return
    changed = _changed(source / WEIGHTS, target / WEIGHTS)
    for name in names:
        part = COMPANIONS[name]
        if not any(part in tensor for tensor in changed):
            shutil.copyfile(source / name, target / name)


def _changed(source: Path, target: Path) -> list[str]:
    """Names of tensors that are not the same in two files, numbers compared in the source's precision."""
    with safe_open(source, "pt") as old, safe_open(target, "pt") as new:
        names, others = set(old.keys()), set(new.keys())
        differing = [
            name
            for name in names & others
            if not torch.equal(old.get_tensor(name), new.get_tensor(name).to(old.get_tensor(name).dtype))
        ]
        return [*differing, *(names ^ others)]
