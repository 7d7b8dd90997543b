"""Define the options that several commands share, each once: models, budgets, methods by name."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bvllm.cli.console import WrongUse, note
from bvllm.common.text import local_path

if TYPE_CHECKING:
    from bvllm.methods.names import MethodNames


def _trusted(given: bool) -> bool:
    """Allow remote code, and say so: nothing else in the package does."""
    if given:
        from bvllm.common.trust import allow_remote_code

        allow_remote_code()
        note("--trust-remote-code: Python code from model folders and the hub may run with your rights")
    return given


BudgetOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Visual tokens that the model may be given; the model's own budget if left out.",
        show_default=False,
    ),
]
AutoBudgetOption = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto",
        help="Visual tokens that the model may be given; the model's own budget if left out. With auto, the "
        "least that the model finds enough for the question.",
        show_default=False,
    ),
]
AUTO: Literal["auto"] = "auto"


def tokens_or_auto(given: str | None) -> "int | Literal['auto'] | None":
    """A number of tokens of at least 1, or "auto".

    Raises:
        WrongUse: it is neither.
    """
    if given is None:
        return None
    if given == AUTO:
        return AUTO
    if not given.isdecimal() or int(given) < 1:
        raise WrongUse(f"--budget must be a whole number of at least 1, or auto, got {given!r}: ask for more")
    return int(given)


FramesOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="Frames that may be chosen; as many as the model can if left out.", show_default=False
    ),
]
VideoArgument = Annotated[
    str,
    typer.Argument(
        metavar="VIDEO", help="A video file, or a picture.", show_default=False, parser=local_path
    ),
]
FpsOption = Annotated[float, typer.Option(help="Frames to sample per second of video.")]
StartOption = Annotated[float, typer.Option(help="Seconds at which the part of the video begins.")]
EndOption = Annotated[
    float | None,
    typer.Option(help="Seconds at which the part ends; the video's end if left out.", show_default=False),
]
ModelOption = Annotated[
    str,
    typer.Option(metavar="nano|PATH|HUB_ID", help="Which model is used; `bvllm models` names those inside."),
]
ScorerOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH|HUB_ID",
        help="What says which frames bear on the question: a CLIP or SigLIP for a transformers video model, "
        "a B-VLLM for a Dynamic-VLM.",
        show_default=False,
    ),
]
PipelineOption = Annotated[
    str | None,
    typer.Option(
        metavar="balanced|uniform",
        help="How a transformers video model's tokens are spent: by the question, or evenly.",
        show_default=False,
    ),
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Let a model's folder run its own Python code: only for a source you trust.",
        callback=_trusted,
    ),
]
_PANEL = "Methods (names in bvllm.METHODS; the model's own if left out)"


def _slot(flag: str, what: str) -> Any:
    return typer.Option(flag, metavar="METHOD", help=what, show_default=False, rich_help_panel=_PANEL)


SelectFramesOption = Annotated[str | None, _slot("--select-frames", "Which frames: uniform, random, ...")]
MergeFramesOption = Annotated[str | None, _slot("--merge-frames", "Which chosen frames become one.")]
SampleTokensOption = Annotated[str | None, _slot("--sample-tokens", "What is kept of a frame's patches.")]
MergeTokensOption = Annotated[str | None, _slot("--merge-tokens", "How tokens are folded into the budget.")]
PruneLayersOption = Annotated[
    str | None,
    _slot("--prune-layers", "Which tokens go inside the language model; --budget is the mean over layers."),
]
PolicyOption = Annotated[
    str | None,
    typer.Option(
        "--tokens-policy",
        metavar="none|even|balanced|quota|content",
        help="How many tokens each frame may keep.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="Of methods that draw at random.", rich_help_panel=_PANEL)
]
ForceOption = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Run a sampler although the projector was trained on another kind of token.",
        rich_help_panel=_PANEL,
    ),
]
SelectOption = Annotated[
    Literal["learned", "uniform"] | None,
    typer.Option("--select", help="Older name of --select-frames.", hidden=True),
]


def method_names(
    select: str | None,
    select_frames: str | None,
    merge_frames: str | None,
    sample_tokens: str | None,
    merge_tokens: str | None,
    tokens_policy: str | None,
    seed: int,
    force: bool,
    prune_layers: str | None = None,
) -> "MethodNames":
    """The options as one value; call it once torch may be imported.

    Raises:
        WrongUse: a name is unknown, or frames are chosen in two ways.
    """
    from bvllm.methods.names import MethodNames

    if select not in (None, "learned"):
        if select_frames not in (None, select):
            raise WrongUse(
                f"--select must agree with --select-frames {select_frames}, got {select}: leave it out"
            )
        select_frames = select
    try:
        return MethodNames(
            select_frames, merge_frames, sample_tokens, merge_tokens, tokens_policy, seed, force, prune_layers
        )
    except ValueError as error:
        raise WrongUse(str(error)) from error
