"""`bvllm train`: train a model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bvllm.cli.console import (
    Stopped,
    Unanswerable,
    WrongUse,
    example,
    progress_bar,
    show,
    silence_libraries,
    wrong_use,
)
from bvllm.cli.options import BudgetOption, FramesOption, PipelineOption, ScorerOption, TrustOption

if TYPE_CHECKING:
    from bvllm.nano.loop import Control

train = typer.Typer(help="Train a model.", add_completion=False)


@train.callback()
def root() -> None:
    """Train a model."""


@train.command("nano", epilog=example("bvllm train nano --out runs/nano --minutes 60"))
def nano(
    out: Annotated[
        Path, typer.Option(help="Folder for the model and its checkpoints.", file_okay=False)
    ] = Path("runs/nano"),
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="The most time for everything, the pool of frames included.")
    ] = None,
    from_nothing: Annotated[
        bool, typer.Option("--from-nothing", help="Start from random numbers, not from the embedded model.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> None:
    """Train the embedded model on, or from nothing, on videos of both of the package's worlds.

    Exit status: 130 where Ctrl-C, 143 where SIGTERM stopped a run that --resume can go on with.
    """
    silence_libraries()
    from bvllm.nano.train import BOTH_WORLDS, FROM_NOTHING, train_nano

    recipe = FROM_NOTHING if from_nothing else BOTH_WORLDS
    _small(lambda control: train_nano(out, minutes=minutes, resume=resume, recipe=recipe, control=control))


@train.command(
    "dynamic_nano", epilog=example("bvllm train dynamic_nano --warm runs/nano --out runs/dynamic_nano")
)
def dynamic_nano(
    out: Annotated[
        Path, typer.Option(help="Folder for the model and its checkpoints.", file_okay=False)
    ] = Path("runs/dynamic_nano"),
    warm: Annotated[
        Path | None,
        typer.Option(
            help="A run of nano on both worlds, to go on from; the embedded nano if left out.",
            file_okay=False,
            show_default=False,
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> None:
    """Train the embedded Dynamic-VLM, on the world's own videos: about an hour on two cores.

    Exit status: 130 where Ctrl-C, 143 where SIGTERM stopped a run that --resume can go on with.
    """
    silence_libraries()
    from bvllm.nano.dynamic.train import train_dynamic_nano

    _small(lambda control: train_dynamic_nano(out, warm=warm, resume=resume, control=control))


def _small(training: "Callable[[Control], Path]") -> None:
    """Train a model of our own world, with a bar, and say where it is."""
    from safetensors import SafetensorError

    from bvllm.common.allocator import keep_freed_memory
    from bvllm.common.stopping import Interrupted
    from bvllm.nano.loop import Control

    keep_freed_memory()  # a third of the time was the system's without
    try:
        with progress_bar(remaining=True) as bar:
            path = training(Control(_log, bar))
    except Interrupted as error:
        raise Stopped(str(error), error.signal) from error
    except ValueError as error:
        raise WrongUse(str(error)) from error
    except (OSError, SafetensorError) as error:  # safetensors says a full disk in its own way
        raise Unanswerable(str(error)) from error
    show(path)


@train.command("llava_nano", epilog=example("bvllm train llava_nano --warm runs/nano --out runs/llava"))
def llava_nano(
    out: Annotated[
        Path, typer.Option(help="Folder for the model and its checkpoints.", file_okay=False)
    ] = Path("runs/llava_nano"),
    warm: Annotated[
        Path | None,
        typer.Option(
            help="A run of nano on both worlds: its tower and language model are taken.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> None:
    """Train a small LLaVA-OneVision on both worlds, to compare methods on (see bvllm leaderboard).

    Exit status: 130 where Ctrl-C, 143 where SIGTERM stopped a run that --resume can go on with.
    """
    silence_libraries()
    from transformers.utils import is_torchvision_available

    from bvllm.nano.llava.train import train_llava_nano

    if not is_torchvision_available():  # said before an hour of work, not after it
        raise Unanswerable(
            "training needs torchvision for the model's own processor: pip install 'bvllm[hf]'"
        )
    _small(lambda control: train_llava_nano(out, warm=warm, resume=resume, control=control))


SettingsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME=VALUE ...", help="Settings: data.pretrain=PATH data.finetune=PATH alignment.lr=1e-3 ..."
    ),
]
OutOption = Annotated[Path | None, typer.Option(help="Folder for stages and model.", file_okay=False)]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Print the plan, train nothing.")]
ProcessesOption = Annotated[int, typer.Option(min=1, help="With --dry-run: plan for so many.")]


@train.command(
    "paper_7b", epilog=example("bvllm train paper_7b data.pretrain=PATH data.finetune=PATH --dry-run")
)
def paper_7b(
    settings: SettingsArgument = None,
    out: OutOption = None,
    resume: ResumeOption = False,
    dry_run: DryOption = False,
    processes: ProcessesOption = 1,
    trust_remote_code: TrustOption = False,
) -> None:
    """Train as the paper does: EVA ViT-g, InstructBLIP's Q-Formers, Qwen2-7B-Instruct, in two stages.

    Exit status: 130 where Ctrl-C, 143 where SIGTERM stopped a run that --resume can go on with.
    """
    _run("paper_7b", settings or [], out or Path("runs/paper_7b"), resume, processes if dry_run else 0)


@train.command(
    "tiny", epilog=example("bvllm train tiny data.pretrain=rows.json data.finetune=rows.json --out runs/tiny")
)
def tiny(
    settings: SettingsArgument = None,
    out: OutOption = None,
    resume: ResumeOption = False,
    dry_run: DryOption = False,
    processes: ProcessesOption = 1,
    trust_remote_code: TrustOption = False,
) -> None:
    """The paper's run in a minute, on a model made from random numbers: for tests and first steps."""
    _run("tiny", settings or [], out or Path("runs/tiny"), resume, processes if dry_run else 0)


@train.command(
    "lora",
    epilog=example(
        "bvllm train lora --model Qwen/Qwen2.5-VL-3B-Instruct --scorer openai/clip-vit-base-patch32 "
        "data.finetune=rows.json"
    ),
)
def lora(
    settings: SettingsArgument = None,
    model: Annotated[
        str | None, typer.Option(metavar="PATH|HUB_ID", help="A transformers video model (`bvllm models`).")
    ] = None,
    scorer: ScorerOption = None,
    pipeline: PipelineOption = None,
    budget: BudgetOption = None,
    frames: FramesOption = None,
    out: OutOption = None,
    resume: ResumeOption = False,
    dry_run: DryOption = False,
    trust_remote_code: TrustOption = False,
) -> None:
    """Tune adapters of a transformers video model on what a budget leaves of its videos.

    Exit status: 130 where Ctrl-C, 143 where SIGTERM stopped a run that --resume can go on with.
    """
    from bvllm.training.settings import lora as recipe
    from bvllm.training.settings import override

    named = {
        "name": model,
        "scorer": scorer,
        "pipeline": pipeline,
        "budget_tokens": budget,
        "num_selected_frames": frames,
    }
    words = [f"model.{name}={value}" for name, value in named.items() if value is not None]
    with wrong_use():
        chosen = override(recipe(), [*words, *(settings or [])])
    silence_libraries()
    with _training():
        from bvllm.training.lora import lora_plan, train_lora

        if dry_run:
            show("\n".join(lora_plan(chosen)))
        else:
            show(train_lora(chosen, out or Path("runs/lora"), resume=resume, log=_log))


@train.command(
    "dynamic_7b",
    epilog=example("bvllm train dynamic_7b data.pretrain=PATH data.image=PATH data.video=PATH --dry-run"),
)
def dynamic_7b(
    settings: SettingsArgument = None,
    out: OutOption = None,
    resume: ResumeOption = False,
    dry_run: DryOption = False,
    processes: ProcessesOption = 1,
    trust_remote_code: TrustOption = False,
) -> None:
    """Train a Dynamic-VLM in its paper's three stages: CLIP-L/336 and Qwen2.5-7B-Instruct, 12 000 tokens a
    prompt.

    Exit status: 130 where Ctrl-C, 143 where SIGTERM stopped a run that --resume can go on with.
    """
    _run("dynamic_7b", settings or [], out or Path("runs/dynamic_7b"), resume, processes if dry_run else 0)


@train.command(
    "dynamic_14b",
    epilog=example("bvllm train dynamic_14b data.pretrain=PATH data.image=PATH data.video=PATH --dry-run"),
)
def dynamic_14b(
    settings: SettingsArgument = None,
    out: OutOption = None,
    resume: ResumeOption = False,
    dry_run: DryOption = False,
    processes: ProcessesOption = 1,
    trust_remote_code: TrustOption = False,
) -> None:
    """As dynamic_7b with Qwen2.5-14B-Instruct and 10 000 tokens a prompt.

    Exit status: 130 where Ctrl-C, 143 where SIGTERM stopped a run that --resume can go on with.
    """
    _run("dynamic_14b", settings or [], out or Path("runs/dynamic_14b"), resume, processes if dry_run else 0)


@train.command(
    "dynamic_tiny",
    epilog=example(
        "bvllm train dynamic_tiny data.pretrain=rows.json data.image=rows.json data.video=rows.json"
    ),
)
def dynamic_tiny(
    settings: SettingsArgument = None,
    out: OutOption = None,
    resume: ResumeOption = False,
    dry_run: DryOption = False,
    processes: ProcessesOption = 1,
    trust_remote_code: TrustOption = False,
) -> None:
    """Dynamic-VLM's run in a minute, on a model made from random numbers: for tests and first steps."""
    _run(
        "dynamic_tiny", settings or [], out or Path("runs/dynamic_tiny"), resume, processes if dry_run else 0
    )


def _run(recipe: str, words: list[str], out: Path, resume: bool, planned: int) -> None:
    """Train, or print the plan for so many processes."""
    from bvllm.training.dynamic_settings import DYNAMIC_RECIPES
    from bvllm.training.settings import RECIPES, override

    with wrong_use():
        settings = override((RECIPES | DYNAMIC_RECIPES)[recipe](), words)
    silence_libraries()
    with _training():
        from bvllm.training.plan import plan
        from bvllm.training.run import train as train_stages

        if planned:
            show("\n".join(plan(settings, planned).lines()))
        else:
            show(train_stages(settings, out, resume=resume, log=_log))


@contextmanager
def _training() -> Iterator[None]:
    """What a run raises, in a line: it was stopped, used wrongly, or cannot go on."""
    from safetensors import SafetensorError

    from bvllm.common.stopping import Interrupted

    try:
        yield
    except Interrupted as error:
        raise Stopped(str(error), error.signal) from error
    except ModuleNotFoundError as error:
        raise Unanswerable(f"training needs {error.name}: pip install 'bvllm[train]'") from error
    except ValueError as error:
        raise WrongUse(str(error)) from error
    except (OSError, SafetensorError, ArithmeticError) as error:
        raise Unanswerable(str(error)) from error


def _log(line: str) -> None:
    show(line)
