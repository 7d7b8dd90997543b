"""`bvllm models`: list the models and families that can be asked."""

from bvllm.cli.console import silence_libraries
from bvllm.cli.json_output import JsonOption, deliver

EVERYWHERE = (
    "Every family answers about a video or a picture, streams, samples and searches with beams (in Python, "
    "`generate_as`); of beams over several videos PerceptionLM's own generate is no measure."
)
TESTED = "Tested with tiny random models of transformers 5.23."


def models(json_target: JsonOption = None) -> None:
    """List the models and families that can be asked."""
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
