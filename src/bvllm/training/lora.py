"""`bvllm train lora`: tune adapters of a transformers video model on what a budget leaves of its videos."""

from pathlib import Path

from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import PreTrainedModel

from bvllm.inference.balanced import BalancedModel
from bvllm.inference.loading import ModelError, load_model
from bvllm.training.callbacks import Log, SharedStopRequest
from bvllm.training.checkpoints import atomic_folder, is_complete
from bvllm.training.checks import check_lora
from bvllm.training.rows import order_of
from bvllm.training.run import MODEL, claim, is_main
from bvllm.training.settings import LoraSettings
from bvllm.training.snapshot import WEIGHTS, load_weights
from bvllm.training.stage import Stage, run_stage
from bvllm.training.trainable import ADAPTER, merge_adapters, prepare
from bvllm.training.wrapped_rows import open_budgeted

ADAPTERS = "adapter"  # folder in PEFT's own layout
ADAPTER_WEIGHTS = "adapter_model.safetensors"  # PEFT looks for it by this name


def train_lora(
    settings: LoraSettings,
    out: Path,
    *,
    resume: bool = False,
    log: Log = print,
    stop: SharedStopRequest | None = None,
) -> Path:
    """Tune adapters, or go on with it; then write them, and the model with them merged.

    Checkpoints, exact resume and evaluation are those of `bvllm.training.run.train`.

    Args:
        settings: the recipe with its overrides.
        out: folder for checkpoints, `adapter` (PEFT's layout) and `model` (merged, for `--model`).
        resume: go on with what is in `out`; else it must hold no run.
        log: receives a line now and then.
        stop: asked from elsewhere to end early; None listens to Ctrl-C and SIGTERM.

    Returns:
        The folder of the merged model.

    Raises:
        ValueError: settings that cannot be meant, or that differ from those of the run in `out`.
        Interrupted: the run was asked to stop.
        OSError: a file cannot be read or written.
    """
    check_lora(settings)
    wrapped = _load(settings)  # what is wrong with the model is said before a folder is made
    claim(out, settings, resume)
    if is_complete(out / MODEL):
        log(f"nothing left to do in {out}")
        return out / MODEL
    stage = Stage("instruction", settings, settings.instruction, out / "instruction")
    asked = stop or SharedStopRequest()
    with asked.listening():
        if not stage.is_done:
            corpus = open_budgeted(settings, wrapped, stage.folder)
            run_stage(stage, wrapped.model, frozenset(), corpus, asked, log)
            if corpus.report is not None:
                log(f"{stage.name}: {corpus.report()}")
        else:
            prepare(wrapped.model, stage.own, seed=0)
    if is_main():
        load_weights(wrapped.model, stage.result / WEIGHTS)
        _finish(wrapped, out)
    return out / MODEL


def lora_plan(settings: LoraSettings) -> list[str]:
    """What a run would do, in lines: rows, steps, budget, and how many weights learn.

    Raises:
        ValueError: settings that cannot be meant.
        OSError: rows cannot be read.
    """
    check_lora(settings)
    wrapped, own, model = _load(settings), settings.instruction, settings.model
    rows = order_of(settings, "finetune")
    steps = Stage("instruction", settings, own, Path()).steps(rows)
    prepare(wrapped.model, own, seed=0)
    weights = list(wrapped.model.parameters())
    learned, every = sum(p.numel() for p in weights if p.requires_grad), sum(p.numel() for p in weights)
    return [
        f"model {model.name}: {wrapped.family.title}, pipeline {wrapped.recipe}, {every:,} weights",
        f"learns {learned:,} weights of adapters of rank {own.lora_rank} on its language model",
        f"rows {len(rows):,} an epoch, {steps:,} steps of {own.batch}",
        f"at most {model.num_selected_frames} frames and {model.budget_tokens} visual tokens a video",
    ]


def _load(settings: LoraSettings) -> BalancedModel:
    own = settings.model
    try:
        loaded = load_model(str(own.name), scorer=own.scorer, pipeline=own.pipeline)
    except ModelError as error:
        raise ValueError(str(error)) from error
    if not isinstance(loaded, BalancedModel):
        raise ValueError(
            f"model.name must be a transformers video model, got {own.name!r}: `bvllm models` lists "
            "the families; bvllm's own models are tuned by `bvllm train paper_7b`"
        )
    return loaded


def _finish(wrapped: BalancedModel, out: Path) -> None:
    """The adapters alone, then one model with its processor and the adapters merged."""
    with atomic_folder(out / ADAPTERS) as inside:
        write_adapters(wrapped.model, inside)
    merge_adapters(wrapped.model)
    with atomic_folder(out / MODEL) as inside:
        wrapped.model.save_pretrained(inside)
        wrapped.processor.save_pretrained(inside)


def write_adapters(model: PreTrainedModel, folder: Path) -> None:
    """Write adapters as PEFT's `PeftModel.from_pretrained` reads them."""
    config: LoraConfig = model.peft_config[ADAPTER]
    state = get_peft_model_state_dict(model, adapter_name=ADAPTER)
    named = {f"base_model.model.{name}": value.contiguous().cpu() for name, value in state.items()}
    save_file(named, folder / ADAPTER_WEIGHTS, {"format": "pt"})
    config.save_pretrained(str(folder))
