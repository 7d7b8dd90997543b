"""Write the prompt of a transformers video model for frames that were chosen and tokens that were reduced."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, ProcessorMixin

from bvllm.inference.model import AskedQuestion, VisualTokens
from bvllm.inference.turns import kinds_in
from bvllm.inference.written_prompt import ChatWriter
from bvllm.model.backbones.families import DeepOutput, Family, family_of, placeholder_id, true_positions
from bvllm.model.backbones.several import ClipKind, picture_form, picture_listed
from bvllm.model.folder import ModelError

IGNORED = -100  # the label that transformers' losses pass over
MODALITIES = ("image", "video")  # under which tokens are passed on


@dataclass(frozen=True)
class PlacedClip:
    """What of a clip stands in the prompt.

    Attributes:
        kind: whether it is shown as a video or as a picture.
        seconds: (F,) of the frames that still have tokens.
        each: placeholders that the processor writes for a frame.
        tail: and behind the last one.
        kept: (K,) which of all these the tokens stand on, in the tokens' order.
        features: (K, D + ...) what stands there.
    """

    kind: ClipKind
    seconds: Tensor
    each: int
    tail: int
    kept: Tensor
    features: Tensor

    @property
    def placeholders(self) -> int:
        return len(self.seconds) * self.each + self.tail


@dataclass(frozen=True)
class PromptWriter:
    """The family's own processor writes the prompt; of its placeholders those stay whose tokens stayed.

    Attributes:
        model, processor: of one family.
        name: of the model, for messages.
        frame_size: (height, width) of frames.
    """

    model: PreTrainedModel
    processor: ProcessorMixin
    name: str
    frame_size: tuple[int, int]

    @property
    def family(self) -> Family:
        return family_of(self.model.config)

    @property
    def width(self) -> int:
        """D of the language model."""
        return int(self.model.config.get_text_config().hidden_size)

    def inputs(self, asked: AskedQuestion, visual: VisualTokens) -> dict[str, Any]:
        """What `generate` and `forward` take: the prompt with as many placeholders as there are tokens."""
        clips = list(self.placed(asked, visual))
        full, order = self._writer.written(asked, [clip.seconds for clip in clips])
        visible = self.is_placeholder(full["input_ids"][0])
        places = visible.nonzero()[:, 0]
        expected = sum(clip.placeholders for clip in clips)
        if len(places) != expected:
            raise ModelError(
                f"processor of {self.name!r} must write {expected} placeholders for "
                f"{sum(len(clip.seconds) for clip in clips)} frames, got {len(places)}: use the processor "
                "that belongs to the model"
            )
        parts = torch.split(places, [clips[k].placeholders for k in order])
        of_clip = dict(zip(order, parts, strict=True))
        # Two tokens may stand in one place, such as a mean over time and one over space: it is written twice.
        keep = [(~visible).nonzero()[:, 0], *(of_clip[k][clip.kept] for k, clip in enumerate(clips))]
        written = torch.cat(keep).sort().values
        given: dict[str, Any] = {
            name: full[name][:, written].to(self.model.device)
            for name in ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
            if name in full
        }
        positions = self.positions(full, clips, [of_clip[k] for k in range(len(clips))])
        if positions is not None:
            given["position_ids"] = positions[:, :, written].to(self.model.device)
            # The text's row tells packed sequences apart: it must have no gaps.
            given["position_ids"][0] = given["attention_mask"].cumsum(-1) - 1
        given["mm_encoder_outputs"] = self._passed([clips[k] for k in order])
        return given

    def placed(self, asked: AskedQuestion, visual: VisualTokens) -> Iterator[PlacedClip]:
        """What of each clip stands in the prompt, in the clips' order."""
        kinds = kinds_in(asked.turns) or ("video",)
        grids = visual.grids or [visual.grid or (1, 1)]
        # Features may have been swapped, see `evaluation.ablate`.
        parts = (visual.tokens, visual.selections, visual.pooler_output, visual.lengths)
        rows = zip(kinds, *parts, grids, strict=True)
        for kind, tokens, selection, features, length, (height, width) in rows:
            # By the row of S: frames may have traded places, or stand in several rows.
            shown, row = torch.unique(tokens.chosen, return_inverse=True)
            at = shown.to(selection.seconds.device)
            each = height * width
            kept = (row * each + tokens.row * width + tokens.column).cpu()
            tail = self.tail(kind)
            if length > len(tokens):  # what ends the clip found room
                kept = torch.cat([kept, len(shown) * each + torch.arange(tail)])
                features = torch.cat([features, self.model.base_model.image_newline[None].to(features)])
            yield PlacedClip(kind, selection.seconds[at].cpu(), each, tail, kept, features)

    def tail(self, kind: ClipKind) -> int:
        """Tokens behind a clip that are of no frame."""
        return self.family.tail if kind == "video" else picture_form(self.model.config).tail

    def _passed(self, clips: Sequence[PlacedClip]) -> dict[str, DeepOutput]:
        """Tokens of clips in the prompt's order, as the model takes them."""
        made: dict[str, list[DeepOutput]] = {}
        for clip in clips:
            listed = None
            if clip.kind == "image":
                listed = picture_listed(self.family, picture_form(self.model.config))
            name = self.family.modality if clip.kind == "video" else "image"
            made.setdefault(name, []).append(self.family.passed(clip.features, self.width, listed=listed))
        return {name: self.family.together(outputs) for name, outputs in made.items()}

    def is_placeholder(self, ids: Tensor) -> Tensor:
        """Where visual tokens stand, of a video or of a picture."""
        return (ids == placeholder_id(self.model)) | (ids == int(self.model.config.image_token_id))

    def written(self, asked: AskedQuestion, seconds: Sequence[Tensor]) -> dict[str, Tensor]:
        """The prompt as the family's own processor writes it for frames at these times, pixels aside."""
        return self._writer.written(asked, seconds)[0]

    @property
    def _writer(self) -> ChatWriter:
        return ChatWriter(self.model.config, self.processor, self.name, self.frame_size)

    def positions(
        self, full: dict[str, Tensor], clips: Sequence[PlacedClip], places: Sequence[Tensor]
    ) -> Tensor | None:
        """(4, 1, S) positions of the whole prompt by the frames' true times; None where they are 1-D.

        Args:
            full: the prompt.
            clips, places: clips of the prompt, and where the placeholders of each of them stand.
        """
        step = self.family.seconds_per_position
        if not self.family.rotary_3d:
            return None
        told = {k: v for k, v in full.items() if k != "input_ids"}
        found: Tensor = self.model._prepare_position_ids_for_generation(full["input_ids"], told)
        positions = found.cpu()
        if step is None:
            return positions
        if not step:
            step = 1.0 / float(self.model.config.vision_config.tokens_per_second)
        for clip, at in zip(clips, places, strict=True):
            if clip.kind == "video":
                positions = true_positions(positions, at, clip.seconds, clip.each, step)
        return positions


def side_by_side(writer: PromptWriter, rows: Sequence[tuple[AskedQuestion, VisualTokens]]) -> dict[str, Any]:
    """What `generate` and `forward` take for several questions about videos at once, padded on the left.

    Args:
        writer: of the model.
        rows: questions with the visual tokens of their clips, of any numbers of tokens.

    Raises:
        ValueError: there is no row.
    """
    if not rows:
        raise ValueError("rows must be at least one, got none: pass questions with their visual tokens")
    each = [writer.inputs(asked, visual) for asked, visual in rows]
    longest = max(given["input_ids"].shape[1] for given in each)
    pad = writer.processor.tokenizer.pad_token_id or 0
    made: dict[str, Any] = {}
    for name, first in each[0].items():
        if name != "mm_encoder_outputs":
            fill = pad if name == "input_ids" else 0
            rows_of = [functional.pad(g[name], (longest - g[name].shape[-1], 0), value=fill) for g in each]
            made[name] = torch.cat(rows_of, dim=first.ndim - 2)
    outputs = [given["mm_encoder_outputs"] for given in each]
    made["mm_encoder_outputs"] = {
        name: writer.family.together([row[name] for row in outputs if name in row])
        for name in MODALITIES
        if any(name in row for row in outputs)
    }
    return made


def with_replies(
    writer: PromptWriter, rows: Sequence[tuple[AskedQuestion, VisualTokens]], replies: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """What `forward` takes to learn replies to several questions: prompts, replies and `labels`.

    Args:
        writer: of the model.
        rows: questions with the visual tokens of their clips.
        replies: ids of what is to be said to each; prompts are padded on the left and replies on the right.

    Raises:
        ValueError: there is no row, or a row has no reply.
    """
    if len(replies) != len(rows) or not all(replies):
        raise ValueError(
            f"replies must be one for each of {len(rows)} rows, got {list(map(len, replies))} tokens: "
            "give each row what is to be said"
        )
    given = side_by_side(writer, rows)
    read, device = given["input_ids"].shape[1], given["input_ids"].device
    pad = writer.processor.tokenizer.pad_token_id or 0
    said = pad_sequence([torch.tensor(r) for r in replies], batch_first=True, padding_value=pad).to(device)
    lengths = torch.tensor([len(r) for r in replies], device=device)
    real = torch.arange(said.shape[1], device=device) < lengths[:, None]
    given["input_ids"] = torch.cat([given["input_ids"], said], dim=1)
    given["attention_mask"] = torch.cat([given["attention_mask"], real.to(given["attention_mask"])], dim=1)
    for name in ("token_type_ids", "mm_token_type_ids"):
        if name in given:
            given[name] = torch.cat([given[name], torch.zeros_like(said)], dim=1)
    if "position_ids" in given:  # M-RoPE: text goes on behind the largest position
        then = torch.arange(said.shape[1], device=device)
        text = given["position_ids"][0, :, -1:] + 1 + then
        behind = given["position_ids"][1:].amax(dim=(0, 2))[:, None] + 1 + then
        more = torch.stack([text, *[behind] * 3])
        given["position_ids"] = torch.cat([given["position_ids"], more], dim=-1)
    labels = given["input_ids"].clone()
    labels[:, :read] = IGNORED
    labels[:, read:] = labels[:, read:].masked_fill(~real, IGNORED)
    given["labels"] = labels
    return given
