"""Convert released LLaMA-VID and VideoLLaMA2 checkpoints, shard by shard, one file in memory."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from bvllm.common.trust import loading
from bvllm.model import BVLLMConfig, BVLLMForConditionalGeneration, BVLLMProcessor
from bvllm.model.assemble import add_video_token
from bvllm.model.connectors.released import TOWER, Recipe, eva_norm, recipes
from bvllm.model.conversion.convert_config import KINDS, connected_config

SHARD_BYTES = 4 * 2**30
VICUNA = (
    "{{ 'A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user\\'s questions.' }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ ' USER: ' }}{% else %}{{ ' ASSISTANT: ' }}{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% else %}{{ video_token + '\\n' }}{% endif %}{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ '</s>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
)
MISTRAL = (
    "{{ '<s>' }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' }}{% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% else %}{{ video_token + '\\n' }}{% endif %}{% endfor %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ ' [/INST]' }}{% else %}{{ '</s>' }}{% endif %}{% endfor %}"
)
TEMPLATES = {"llama": VICUNA, "mistral": MISTRAL, "mixtral": MISTRAL}  # ChatML for the others


class ConvertError(ValueError):
    """A checkpoint that cannot be converted, and why."""


@dataclass(frozen=True)
class Converted:
    """What a conversion made.

    Attributes:
        folder: a model that `load_model` and `from_pretrained` take.
        weights: how many there are.
        computed: released keys that hold nothing learned.
    """

    folder: Path
    weights: int
    computed: tuple[str, ...]


def convert(
    kind: str,
    source: Path,
    target: Path,
    *,
    tower: Path | None = None,
    question_tokenizer: Path | None = None,
) -> Converted:
    """Write a released checkpoint in our `save_pretrained` layout, weights untouched and in their own dtype.

    Args:
        kind: "llama-vid" or "videollama2".
        source: folder with config.json, tokenizer and *.safetensors.
        target: a new or empty folder.
        tower: folder with the vision tower's weights, where the checkpoint holds none: keys as within it.
        question_tokenizer: folder with BERT's tokenizer, which LLaMA-VID's Q-Former reads with.

    Raises:
        ConvertError: something is missing, left over, or not what it says.
        OSError: files cannot be read or written.
    """
    if kind not in KINDS:
        raise ConvertError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}: use one of these")
    if kind == "llama-vid" and question_tokenizer is None:
        raise ConvertError(
            "question_tokenizer must be given for llama-vid, got None: a folder with bert-base-uncased's "
            "tokenizer, whose words its Q-Former reads"
        )
    if target.exists() and any(target.iterdir()):
        raise ConvertError(f"target must be a new or empty folder, got {target}: choose another")
    where = _weights(source) | ({} if tower is None else _tower_weights(tower))
    settings, shapes = _settings(source), {name: _shape(*place) for name, place in where.items()}
    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True, **loading())
    try:
        plan = recipes(where) | (eva_norm(where) if f"{TOWER}cls_token" in where else {})
        config = connected_config(kind, settings, shapes, add_video_token(tokenizer))
    except ValueError as error:
        raise ConvertError(str(error)) from error
    missing, wrong = _check(config, plan, where)
    if missing or wrong:
        raise ConvertError(
            f"the checkpoint must fill every weight, got none for {missing[:4]} and other shapes for "
            f"{wrong[:4]}: give the vision tower's folder where the release leaves it out"
        )
    config.architectures = [BVLLMForConditionalGeneration.__name__]
    with _new_folder(target) as inside:
        _write(plan, where, inside, rows=config.text_config.vocab_size)
        config.save_pretrained(inside)
        _processor(config, tokenizer, question_tokenizer).save_pretrained(inside)
    computed = set(where) - {name for recipe in plan.values() for name in recipe.sources}
    return Converted(target, len(plan), tuple(sorted(computed)))


Where = Mapping[str, tuple[Path, str]]  # released name -> file, and the name in it


def _settings(source: Path) -> dict[str, Any]:
    path = source / "config.json"
    if not path.is_file():
        raise ConvertError(f"source must hold a config.json, got none in {source}: point to the checkpoint")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _weights(folder: Path) -> dict[str, tuple[Path, str]]:
    """Every weight of a folder's safetensors files."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = next((path.name for path in sorted(folder.glob("*.bin"))), None)
        raise ConvertError(
            f"source must hold *.safetensors, got {pickled or 'none'} in {folder}: "
            + (
                "a .bin can run code when it is opened; load it once where you trust it, and save it with "
                "save_pretrained(..., safe_serialization=True)"
                if pickled
                else "download the weights, too"
            )
        )
    found: dict[str, tuple[Path, str]] = {}
    for path in files:
        try:
            with safe_open(path, "pt") as file:
                found |= {name: (path, name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ConvertError(
                f"{path} must be a safetensors file, got {error}: download it again"
            ) from error
    return found


def _tower_weights(folder: Path) -> dict[str, tuple[Path, str]]:
    """A tower that was released alone; a whole CLIP's other half is left where it is."""
    found = _weights(folder)
    vision = {name for name in found if name.startswith("vision_model.")}
    return {TOWER + name: found[name] for name in vision or found}


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A folder that appears as `target` once everything in it is written, or not at all."""
    inside = target.with_name(f".{target.name}.part")
    shutil.rmtree(inside, ignore_errors=True)  # of a conversion that was killed
    inside.mkdir(parents=True)
    try:
        yield inside
        inside.rename(target)
    except SafetensorError as error:  # a full disk, most likely
        raise OSError(f"weights cannot be written: {error}") from error
    finally:
        shutil.rmtree(inside, ignore_errors=True)


def _shape(path: Path, key: str) -> tuple[int, ...]:
    with safe_open(path, "pt") as file:
        return tuple(file.get_slice(key).get_shape())


def _check(config: BVLLMConfig, plan: dict[str, Recipe], where: Where) -> tuple[list[str], list[str]]:
    """Weights that nothing fills, and weights that would not fit, by a model that takes no memory."""
    with torch.device("meta"):
        wanted = BVLLMForConditionalGeneration(config).state_dict()
    grown = ("lm_head.weight", "model.language_model.embed_tokens.weight")
    wrong = sorted(set(plan) - set(wanted))
    for name in set(plan) & set(wanted):
        shapes = [_shape(*where[source]) for source in plan[name].sources]
        made = plan[name].make([torch.empty(shape, device="meta") for shape in shapes]).shape
        if made != wanted[name].shape and not (name in grown and made[1:] == wanted[name].shape[1:]):
            wrong.append(name)
    return sorted(set(wanted) - set(plan)), wrong


def _write(plan: dict[str, Recipe], where: Where, target: Path, rows: int) -> None:
    """Our weights in shards of about `SHARD_BYTES`, with the index that transformers reads."""
    shards: list[list[str]] = [[]]
    size, total = 0, 0
    held: dict[str, Tensor] = {}
    for name in sorted(plan, key=lambda n: (str(where[plan[n].sources[0]][0]), n)):
        weight = _made(plan[name], where)
        if name in ("lm_head.weight", "model.language_model.embed_tokens.weight") and len(weight) < rows:
            weight = torch.cat([weight, weight.float().mean(0, keepdim=True).to(weight.dtype)])
        weight = weight.contiguous()
        if held and size + weight.nbytes > SHARD_BYTES:
            save_file(held, target / _part(len(shards)), {"format": "pt"})
            shards.append([])
            size, held = 0, {}
        held[name] = weight
        shards[-1].append(name)
        size, total = size + weight.nbytes, total + weight.nbytes
    save_file(held, target / _part(len(shards)), {"format": "pt"})
    names = {k: f"model-{k:05}-of-{len(shards):05}.safetensors" for k in range(1, len(shards) + 1)}
    for k, final in names.items():
        (target / _part(k)).rename(target / final)
    index = {
        "metadata": {"total_size": total},
        "weight_map": {name: names[k] for k, shard in enumerate(shards, 1) for name in shard},
    }
    text = json.dumps(index, indent=2, sort_keys=True)
    (target / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def _part(number: int) -> str:
    return f"part-{number}.safetensors"


def _made(recipe: Recipe, where: Where) -> Tensor:
    weights = []
    for source in recipe.sources:
        path, key = where[source]
        with safe_open(path, "pt") as file:
            weights.append(file.get_tensor(key))
    return recipe.make(weights)


def _processor(
    config: BVLLMConfig, tokenizer: PreTrainedTokenizerBase, question_tokenizer: Path | None
) -> BVLLMProcessor:
    """With the prompts of the release; VideoLLaMA2 reads no question before its language model does."""
    reader = tokenizer
    if question_tokenizer is not None:
        reader = AutoTokenizer.from_pretrained(
            question_tokenizer, local_files_only=True, truncation_side="left", **loading()
        )
    template = TEMPLATES.get(config.text_config.model_type)
    return BVLLMProcessor.for_model(config, tokenizer, reader, chat_template=template)
