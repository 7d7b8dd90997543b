"""Define the options that fill the pipeline's slots by a method's name, the same for every command."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bvllm.cli.console import WrongUse

if TYPE_CHECKING:
    from bvllm.methods.names import MethodNames

_PANEL = "Methods (names in bvllm.METHODS; the model's own if left out)"


def _slot(flag: str, what: str) -> Any:
    return typer.Option(flag, metavar="METHOD", help=what, show_default=False, rich_help_panel=_PANEL)


SelectFramesOption = Annotated[str | None, _slot("--select-frames", "Which frames: uniform, random, ...")]
MergeFramesOption = Annotated[str | None, _slot("--merge-frames", "Which chosen frames become one.")]
SampleTokensOption = Annotated[str | None, _slot("--sample-tokens", "What is kept of a frame's patches.")]
MergeTokensOption = Annotated[str | None, _slot("--merge-tokens", "How tokens are folded into the budget.")]
PolicyOption = Annotated[
    str | None,
    typer.Option(
        "--tokens-policy",
        metavar="none|even|balanced",
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
            select_frames, merge_frames, sample_tokens, merge_tokens, tokens_policy, seed, force
        )
    except ValueError as error:
        raise WrongUse(str(error)) from error
