"""Say how a family's prompt holds several videos, and pictures beside them: one record a family.

A family without a record reads one video a prompt, and what is more is refused by its name.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedConfig

from bvllm.model.backbones.families import FAMILIES, Family, family_of

ClipKind = Literal["video", "image"]
NAMES: dict[ClipKind, str] = {"video": "video", "image": "picture"}


@dataclass(frozen=True)
class PictureForm:
    """How a family is given a picture in one view, as it is given a frame: by `get_image_features`.

    Attributes:
        settings: what its image processor must be told so that it does not cut the picture into tiles.
        listed: whether tokens of pictures are passed as a list of one tensor each; None as those of videos.
        copies: how often the processor is shown it, so that it takes it for one of several pictures.
        tail: tokens behind a picture that are of no place in it.
    """

    settings: tuple[tuple[str, bool | int | str], ...] = ()
    listed: bool | None = None
    copies: int = 1
    tail: int = 0


@dataclass(frozen=True)
class SeveralClips:
    """How a family's prompt holds more than one video.

    Attributes:
        picture: how it is given a picture; None where it has no way that fits a budget.
        without: why there is none, a clause.
        labelled: whether clips are told apart by a label in words, because nothing else in the prompt does.
    """

    picture: PictureForm | None = PictureForm()
    without: str = ""
    labelled: bool = False


# By `model_type`.
SEVERAL: dict[str, SeveralClips] = {
    # Several pictures are shown in one view each; a single one in tiles.
    "llava_onevision": SeveralClips(PictureForm(listed=True, copies=2, tail=1)),
    "llava_next_video": SeveralClips(None, without="it cuts a picture into tiles"),
    "video_llava": SeveralClips(PictureForm((("return_legacy_image_output", False),))),
    "internvl": SeveralClips(PictureForm((("crop_to_patches", False),))),
    "smolvlm": SeveralClips(PictureForm((("do_image_splitting", False),))),
    "gemma3": SeveralClips(PictureForm((("do_pan_and_scan", False),)), labelled=True),
    "video_llama_3": SeveralClips(),
    "perception_lm": SeveralClips(PictureForm((("vision_input_type", "vanilla"), ("max_num_tiles", 1)))),
    "qwen2_vl": SeveralClips(),
    "qwen2_5_vl": SeveralClips(),
    "qwen3_vl": SeveralClips(),
}


def check_clips(config: PreTrainedConfig, kinds: Sequence[ClipKind]) -> SeveralClips:
    """The record of a family that can be asked about these clips in one prompt.

    Raises:
        ValueError: it cannot; the message names the family and what it reads.
    """
    title = family_of(config).title
    record = SEVERAL.get(str(config.model_type))
    if record is None:
        raise ValueError(one_a_prompt(title, kinds))
    if "image" in kinds and record.picture is None:
        raise ValueError(
            f"{title} must be asked about videos alone, since {record.without}, got {counted(kinds)}: leave "
            "the pictures out"
        )
    return record


def picture_form(config: PreTrainedConfig) -> PictureForm:
    """How a family is given a picture.

    Raises:
        ValueError: it has no way.
    """
    found = check_clips(config, ["image"]).picture
    assert found is not None  # else it is refused
    return found


def one_a_prompt(who: str, kinds: Sequence[ClipKind]) -> str:
    """The line that refuses more than one video."""
    return (
        f"{who} reads one video a prompt, got {counted(kinds)}: ask about each alone, or ask a model that "
        "reads several (see `bvllm models`)"
    )


def counted(kinds: Sequence[ClipKind]) -> str:
    """How many clips there are of each kind, in words.

    Example:
        >>> counted(["video", "image", "video"])
        '2 videos and 1 picture'
    """
    found = Counter(kinds)
    return " and ".join(f"{n} {NAMES[kind]}{'s' * (n != 1)}" for kind, n in found.items())


def reads_several(kind: str) -> tuple[str, str]:
    """Whether a family reads several videos, and pictures beside them, in words for its table."""
    record = SEVERAL.get(kind)
    if record is None:
        return "no", "no"
    several = "yes, each with a label" if record.labelled else "yes"
    return several, "no" if record.picture is None else "yes"


def picture_listed(family: Family, form: PictureForm) -> bool:
    """Whether tokens of pictures are passed as a list of one tensor each."""
    return family.listed if form.listed is None else form.listed


def families_table() -> str:
    """The families as a table in Markdown."""
    rows = [
        "| `model_type` | family | frames' times reach it by | a chosen frame is shown | `prune_layers` "
        "| several videos | pictures beside a video |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, family in FAMILIES.items():
        placed = family.seconds_per_position is not None
        by = "temporal positions" if placed else "the prompt's text" if family.writes_time else "nothing"
        shown = "twice, as one temporal patch" if family.pairs else "once"
        inner = "yes" if family.inner else "no"
        several, pictures = reads_several(kind)
        rows.append(f"| `{kind}` | {family.title} | {by} | {shown} | {inner} | {several} | {pictures} |")
    return "\n".join(rows)
