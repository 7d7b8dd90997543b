"""What one tree gives: the child of `equal_outputs.py`, which says on whose `src` it runs.

    PYTHONPATH=TREE/src python -m benchmarks.equal_dump FOLDER [--quick]

Leaves `tensors.safetensors` and `texts.json` in FOLDER. Only what every tree has is imported at the top.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

import bvllm
from benchmarks.equal_inputs import BASE, QUICK_VARIANTS, VARIANTS, chats, draw_video, fill
from bvllm.model import BVLLMConfig, BVLLMForConditionalGeneration, BVLLMProcessor

TOKEN_FIELDS = ("features", "seconds", "size", "frame", "row", "column")
SELECTION_FIELDS = ("weights", "frames", "seconds", "size", "scores", "logits")
CONFIG_FIELDS = (
    "num_selected_frames tokens_per_frame budget_tokens tau gamma frame_selector frame_feature certainty "
    "choice merge_frames token_sampler adaptive_tokens merge_tokens vision_feature_layer time_channels clock "
    "initializer_range"
).split()
# Where the training steps and the world may be.
NANO_ROOMS = (("bvllm.nano", "bvllm.synthetic"), ("bvllm.app.nano", "bvllm.data.world"))
ASKS: dict[str, tuple[str, ...]] = {
    "no index": ("--no-index",),
    "index made": (),
    "index read": (),
    "uniform": ("--select", "uniform"),
    "budget": ("--budget", "16"),
    "few frames": ("--frames", "3", "--fps", "2", "--no-index"),
    "stock tower": ("--stock-tower", "--no-index"),
    "options": ("--option", "red", "--option", "blue"),
}
OF_THE_RUN = ("timings", "command")  # what the command prints of the run, not of the answer


@dataclass
class Found:
    """Tensors and texts by name, and the groups that could not run."""

    folder: Path
    quick: bool
    tensors: dict[str, Tensor] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: Tensor) -> None:
        if name in self.tensors:
            raise ValueError(f"name must be new, got {name}: tell the two apart")
        self.tensors[name] = value.detach().clone().contiguous()

    def save(self) -> None:
        save_file(self.tensors, self.folder / "tensors.safetensors")
        left = {"texts": self.texts, "skipped": self.skipped}
        (self.folder / "texts.json").write_text(json.dumps(left))


def main() -> None:
    parser = argparse.ArgumentParser(description="Leave a tree's outputs in a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    print(f"outputs of {Path(bvllm.__file__).parent}", file=sys.stderr)
    found = Found(args.folder, args.quick)
    groups: tuple[Callable[[Found], None], ...] = (nano, nano_training, variants, steps, command_line)
    for group in groups:
        begun = time.monotonic()
        group(found)
        print(f"    {group.__name__}: {time.monotonic() - begun:.1f} s", file=sys.stderr)
    found.save()


def nano(found: Found) -> None:
    """The embedded model at two budgets and two precisions, on clips of one frame to many."""
    batches = {"ragged": (1, 5, 40)} if found.quick else {"one": (1,), "ragged": (5, 40, 1), "long": (200, 7)}
    settings = [(512, torch.float32), (24, torch.float32), (512, torch.bfloat16)]
    for budget, dtype in settings[1:2] if found.quick else settings:
        model, processor = load_nano(budget, dtype)
        for name, lengths in batches.items():
            key = f"nano/{budget} {str(dtype)[6:]}/{name}"
            show(found, key, model, processor, lengths, max_new_tokens=24)


def nano_training(found: Found) -> None:
    """Loss and gradients of the embedded model, however frames are chosen."""
    for choice in ("gumbel",) if found.quick else ("gumbel", "softmax"):
        model, processor = load_nano(64, torch.float32)
        model.config.choice = model.model.config.choice = choice
        learn(found, f"nano training/{choice}", model, processor)


def variants(found: Found) -> None:
    """Every system that the tables compare, with weights from a seed."""
    processor = BVLLMProcessor.from_pretrained(nano_folder())
    tokenizer = processor.tokenizer
    base = preset()(
        len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        video_token_id=processor.video_token_id,
    ).to_dict()
    base |= {"place_channels": 0, "second_choices": 0.0}  # older commits know of neither
    for name in QUICK_VARIANTS if found.quick else VARIANTS:
        torch.manual_seed(0)
        config = BVLLMConfig(**base | BASE | VARIANTS[name])
        for field_name in CONFIG_FIELDS:  # a default may change without a mark on these few outputs
            found.texts[f"variants/{name}/config.{field_name}"] = repr(getattr(config, field_name, None))
        model = BVLLMForConditionalGeneration(config).eval()
        model.generation_config.eos_token_id = None  # answers of a length that can be counted on
        fill(model)
        own = BVLLMProcessor.for_model(config, tokenizer, processor.qformer_tokenizer)
        show(found, f"variants/{name}", model, own, (1, 6, 30), max_new_tokens=8)
        learn(found, f"variants training/{name}", model, own)


def a_module(room: str, name: str, older: str) -> ModuleType:
    """A module by its name, or by the one it had in older commits."""
    try:
        return import_module(f"{room}.{name}")
    except ImportError:
        return import_module(f"{room}.{older}")


def steps(found: Found) -> None:
    """One step of nano's own training, on features that are made up."""
    for room, world_room in NANO_ROOMS:
        try:
            needed = [import_module(f"{room}.{name}") for name in ("steps", "examples")]
            cache, frames = (
                a_module(room, name, older)
                for name, older in (("feature_cache", "bank"), ("frame_dataset", "pool"))
            )
            world = [import_module(f"{world_room}.{n}") for n in ("needles", "timeline", "draft")]
        except ImportError as error:
            found.skipped["steps"] = str(error)
            continue
        found.skipped.pop("steps", None)
        break
    else:
        print(f"    steps skipped: {found.skipped['steps']}", file=sys.stderr)
        return
    step, examples = needed
    needles, timeline, draft = world
    star = needles.Event(needles.Sticker("star", "red", ("top left",)), 2.0, 1.0)
    word = needles.Event(needles.Caption("river", "blue"), 7.0, 2.0)
    plan = timeline.Timeline(10.0, (word, star), ())
    asked = [
        draft.Question("colour", "which colour is the star?", ("blue", "red"), 1, "", (1,)),
        draft.Question("existence", "is there a red star in the video?", ("yes", "no"), 0, "00:02", (1, 0)),
        draft.Question("existence", "is there a blue moon in the video?", ("yes", "no"), 1, "", ()),
    ]
    torch.manual_seed(3)
    shown = getattr(frames, "FrameDataset", None) or frames.Pool
    shown = shown(
        torch.zeros(8, 3, 4, 4, dtype=torch.uint8),
        (None,) * 6 + (star.needle, word.needle),
        torch.zeros(8),
        torch.tensor([0, 0, 0, 1, 1, 1, 0, 1]),
    )
    store = (getattr(cache, "FeatureCache", None) or cache.Bank).index(
        shown, torch.randn(8, 128), torch.randn(8, 64, 128).bfloat16()
    )
    rows_of = getattr(store, "clip_rows", None) or store.film  # its name in older commits
    rng = np.random.default_rng(5)
    batch = []
    for number, question in enumerate(asked):
        example = examples.put(plan, question, with_options=number != 1)
        wanted = step.wanted_frames(example, 32)
        oracle = sorted(set(wanted.tolist()))
        batch.append(
            (getattr(step, "TrainingClip", None) or step.Clip)(example, rows_of(example, rng), wanted, oracle)
        )
    model, processor = load_nano(64, torch.float32)
    model.train()
    for oracle in (0.0, 0.5):
        torch.manual_seed(11)
        model.zero_grad()
        rng = np.random.default_rng(6)
        loss = step.step_loss(model, processor.tokenizer, store, batch, oracle=oracle, rng=rng)
        (loss.answer + loss.selection).backward()
        for part in ("answer", "selection", "right", "recall"):
            found.add(f"steps/{oracle}/{part}", getattr(loss, part))
        gradients(found, f"steps/{oracle}", model)


def command_line(found: Found) -> None:
    """`bvllm ask` on a file: everything that it prints but paths and times."""
    if found.quick:
        found.skipped["command line"] = "not with --quick"
        return
    video, index = found.folder.parent / "drawn.mp4", found.folder / "index"
    if not video.exists():  # once for both trees: encoders do not write the same bytes every time
        draw_video(video, 12)
    for name in ASKS:
        begin = [sys.executable, "-m", "bvllm", "ask", str(video), "which colour is the circle?"]
        where = [] if "--no-index" in ASKS[name] else ["--index", str(index)]
        command = [*begin, "--json", "--threads", "1", *where, *ASKS[name]]
        ran = subprocess.run(command, cwd=found.folder, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise RuntimeError(f"{' '.join(command[1:])} must succeed, got {ran.stderr}: run it by hand")
        said = json.loads(ran.stdout)
        for key in said.keys() - set(OF_THE_RUN):
            leaves(found, f"command line/{name}/{key}", said[key])


def leaves(found: Found, name: str, value: object) -> None:
    """Every single value of what JSON holds, by its path; a path on the disk is left out."""
    if isinstance(value, dict):
        for key, part in value.items():
            leaves(found, f"{name}.{key}", part)
    elif isinstance(value, list):
        found.texts[f"{name}.length"] = str(len(value))
        for place, part in enumerate(value):
            leaves(found, f"{name}.{place}", part)
    elif not name.endswith("path"):
        found.texts[name] = json.dumps(value)


@torch.no_grad()
def show(
    found: Found,
    name: str,
    model: BVLLMForConditionalGeneration,
    processor: BVLLMProcessor,
    lengths: tuple[int, ...],
    *,
    max_new_tokens: int,
) -> None:
    """Everything that a model says of a batch: visual tokens, logits, answers."""
    batch = processor.apply_chat_template(chats(lengths), tokenize=True, add_generation_prompt=True)
    for key, value in batch.items():
        found.add(f"{name}/inputs/{key}", value)
    vision = ("pixel_values_videos", "video_num_frames", "video_seconds")
    question = ("qformer_input_ids", "qformer_attention_mask")
    seen = model.get_video_features(**{key: batch[key] for key in vision + question})
    for k in range(len(lengths)):
        found.add(f"{name}/{k}/pooler_output", seen.pooler_output[k])
        for part in TOKEN_FIELDS:
            found.add(f"{name}/{k}/tokens.{part}", getattr(seen.tokens[k], part))
        for part in SELECTION_FIELDS:
            found.add(f"{name}/{k}/selection.{part}", getattr(seen.selections[k], part))
        if seen.attention is not None:
            found.add(f"{name}/{k}/attention", seen.attention[k])
    found.add(f"{name}/logits", model(**batch).logits)
    ids = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
    found.add(f"{name}/generated", ids)
    answers = processor.tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :])
    for k, answer in enumerate(answers):
        found.texts[f"{name}/{k}/answer"] = answer


def learn(found: Found, name: str, model: BVLLMForConditionalGeneration, processor: BVLLMProcessor) -> None:
    """Loss of a small batch in training, and the gradients it leaves."""
    model.train()
    batch = processor.apply_chat_template(chats((1, 6, 12), replies=True), tokenize=True)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    labels = labels.masked_fill(labels == processor.video_token_id, -100)
    torch.manual_seed(11)
    model.zero_grad()
    output = model(**batch, labels=labels)
    output.loss.backward()
    found.add(f"{name}/loss", output.loss)
    found.add(f"{name}/logits", output.logits)
    gradients(found, name, model)


def gradients(found: Found, name: str, model: torch.nn.Module) -> None:
    """Norm, sum and largest entry of every gradient; one that is missing has no name."""
    for key, weight in model.named_parameters():
        if weight.grad is not None:
            grad = weight.grad.double()
            found.add(f"{name}/gradient of {key}", torch.stack([grad.norm(), grad.sum(), grad.abs().max()]))


def load_nano(budget: int, dtype: torch.dtype) -> tuple[BVLLMForConditionalGeneration, BVLLMProcessor]:
    """The embedded model at a budget of its own, and the processor that counts as it does."""
    model = BVLLMForConditionalGeneration.from_pretrained(nano_folder(), budget_tokens=budget, dtype=dtype)
    saved = BVLLMProcessor.from_pretrained(nano_folder())
    processor = BVLLMProcessor.for_model(
        model.config, saved.tokenizer, saved.qformer_tokenizer, chat_template=saved.chat_template
    )
    return model.eval(), processor


def nano_folder() -> Path:
    """Where the tree keeps the embedded model."""
    return next(Path(bvllm.__file__).parent.rglob("nano/model.safetensors")).parent


def preset() -> Callable[..., BVLLMConfig]:
    """Nano's configuration as a function, from where the tree has it."""
    try:
        module = import_module("bvllm.model.presets")
    except ImportError:
        module = import_module("bvllm.presets")
    return module.nano


if __name__ == "__main__":
    main()
