"""`bvllm models`: list the models and families that can be asked, or count one."""

from typing import TYPE_CHECKING, Annotated

import typer

from bvllm.cli.console import Unanswerable, WrongUse, silence_libraries, wrong_use
from bvllm.cli.json_output import JsonOption, JsonTarget, deliver
from bvllm.cli.options import TrustOption

if TYPE_CHECKING:
    from bvllm.inference.planned_model import PlannedModel

EVERYWHERE = (
    "Every family answers about a video or a picture, streams, samples and searches with beams (in Python, "
    "`generate_as`); of beams over several videos PerceptionLM's own generate is no measure."
)
TESTED = "Tested with tiny random models of transformers 5.23."


# Sec. 8.3 of the paper does not say how long the prompt of its Table 8 is.
TABLE_8 = (
    "The paper's Table 8 has 7.6 + 1.2 billion parameters, and 1.81 TFLOPs and 908 GMACs without the length "
    "of the prompt; the language model alone, its head at every token, has as many on 128 tokens."
)


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|PATH|HUB_ID|paper_7b]",
            help="Count this one: parameters by part, and FLOPs of reading a prompt. All are listed if left "
            "out.",
            show_default=False,
        ),
    ] = None,
    prompt: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tokens of the counted prompt, of text and video together; 64 more than the model's budget "
            "if left out.",
            show_default=False,
        ),
    ] = None,
    trust_remote_code: TrustOption = False,
    json_target: JsonOption = None,
) -> None:
    """List the models and families that can be asked, or count one."""
    if name is None and prompt is not None:
        raise WrongUse("--prompt must be given with the name of a model, got none: name one to count it")
    if name is not None:
        _count(name, prompt, json_target)
        return
    silence_libraries()
    from bvllm.inference.model_name import PACKAGED, packaged
    from bvllm.model.backbones.families import FAMILIES
    from bvllm.model.backbones.several import families_table

    inside = ", ".join(f"{name} ({PACKAGED[name]})" for name in packaged())
    own = (
        f"Inside the package: {inside}. A folder of `bvllm train` or `bvllm convert` has model_type bvllm or "
        "dynamic_vlm."
    )
    deliver(
        json_target,
        lambda: f"{own}\n\n{families_table()}\n\n{EVERYWHERE}\n\n{TESTED}",
        lambda: {kind: _as_object(kind) for kind in FAMILIES},
    )


def _as_object(kind: str) -> dict[str, object]:
    """What is known of a family, by its `model_type`."""
    from bvllm.model.backbones.families import FAMILIES
    from bvllm.model.backbones.several import SEVERAL

    record = SEVERAL.get(kind)
    return {
        "title": FAMILIES[kind].title,
        "tested": FAMILIES[kind].tested,
        "several_videos": record is not None,
        "pictures_beside_a_video": record is not None and record.picture is not None,
    }


def _count(name: str, prompt: int | None, json_target: JsonTarget | None) -> None:
    from bvllm.inference.model_name import check_counted

    with wrong_use():
        check_counted(name)
    silence_libraries()
    from bvllm.inference.planned_model import TEXT_TOKENS, planned_model
    from bvllm.model.folder import ModelError

    try:
        counted = planned_model(name)
    except (ModelError, OSError) as error:
        raise Unanswerable(str(error)) from error
    tokens = prompt or counted.budget.tokens + TEXT_TOKENS
    deliver(json_target, lambda: _table(name, counted, tokens), lambda: _counts(name, counted, tokens))


def _table(name: str, counted: "PlannedModel", tokens: int) -> str:
    width = max(map(len, counted.parts), default=0)
    parts = [f"{part:<{width}}  {_large(count)}" for part, count in counted.parts.items()]
    flops = [_large(counted.read_flops(tokens, heads=heads)) for heads in (1, tokens)]
    lines = [
        f"{name}: {_large(counted.parameters)} parameters",
        "",
        *parts,
        "",
        f"Reading a prompt of {tokens} tokens: {flops[0]} FLOPs of the language model, its head at the last "
        f"token; {flops[1]} with the head at every one. Tower and readers are not in it.",
    ]
    return "\n".join([*lines, "", TABLE_8] if name == "paper_7b" else lines)


def _counts(name: str, counted: "PlannedModel", tokens: int) -> dict[str, object]:
    return {
        "model": name,
        "parameters": counted.parameters,
        "parts": counted.parts,
        "prompt": tokens,
        "flops": counted.read_flops(tokens, heads=1),
        "flops_head_at_every_token": counted.read_flops(tokens, heads=tokens),
    }


def _large(number: int) -> str:
    """A count as people say it.

    Example:
        >>> _large(1_813_000_000_000), _large(9_970_000)
        ('1.813 trillion', '9.970 million')
    """
    for size, word in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.3f} {word}"
    return str(number)
