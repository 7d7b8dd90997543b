"""Write the prompt of a transformers video model for frames that were chosen and tokens that were reduced."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, ProcessorMixin
from transformers.video_utils import VideoMetadata

from bvllm.common.subtitles import beside
from bvllm.inference.model import AskedQuestion, VisualTokens
from bvllm.inference.plain_words import plain_words
from bvllm.model.backbones.families import Family, family_of, placeholder_id, true_positions
from bvllm.model.folder import ModelError

IGNORED = -100  # the label that transformers' losses pass over
TICKS = 1000  # a second; frames are named to processors by whole ticks, so that the times they write are true


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

    def inputs(self, asked: AskedQuestion, visual: VisualTokens) -> dict[str, Any]:
        """What `generate` and `forward` take: the prompt with as many placeholders as there are tokens."""
        [tokens], [selection] = visual.tokens, visual.selections
        shown, row = torch.unique(tokens.frame, return_inverse=True)
        seconds = selection.seconds[torch.searchsorted(selection.frames, shown.to(selection.frames.device))]
        full = self.written(asked, seconds.cpu())
        ids = full["input_ids"]
        places = (ids[0] == placeholder_id(self.model)).nonzero()[:, 0]
        rows, columns = visual.grid or (1, 1)
        each, tail = rows * columns, self.family.tail
        if len(places) != len(shown) * each + tail:
            raise ModelError(
                f"processor of {self.name!r} must write {len(shown) * each + tail} placeholders for "
                f"{len(shown)} frames, got {len(places)}: use the processor that belongs to the model"
            )
        kept = (row * each + tokens.row * columns + tokens.column).cpu()
        # Two tokens may stand in one place, such as a mean over time and one over space: it is written twice.
        keep = [(ids[0] != placeholder_id(self.model)).nonzero()[:, 0], places[kept]]
        [features] = visual.pooler_output  # which may have been swapped, see `evaluation.ablate`
        if sum(visual.lengths) > len(tokens):  # what ends the video found room
            keep.append(places[-tail:])
            features = torch.cat([features, self.model.base_model.image_newline[None].to(features)])
        written = torch.cat(keep).sort().values
        given: dict[str, Any] = {
            name: full[name][:, written].to(self.model.device)
            for name in ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
            if name in full
        }
        positions = self.positions(full, places, seconds, each)
        if positions is not None:
            given["position_ids"] = positions[:, :, written].to(self.model.device)
            # The text's row tells packed sequences apart: it must have no gaps.
            given["position_ids"][0] = given["attention_mask"].cumsum(-1) - 1
        given["mm_encoder_outputs"] = {self.family.modality: self.family.passed(features, self.width)}
        return given

    @property
    def width(self) -> int:
        """D of the language model."""
        return int(self.model.config.get_text_config().hidden_size)

    def written(self, asked: AskedQuestion, seconds: Tensor) -> dict[str, Tensor]:
        """The prompt as the family's own processor writes it for frames at these times."""
        text = plain_words(beside(asked.subtitles) + asked.question.written, self.processor.tokenizer)
        shown = [{"type": "image"}] * len(seconds) if self.family.pictures else [{"type": "video"}]
        chat = [{"role": "user", "content": [*shown, {"type": "text", "text": text}]}]
        if not getattr(self.processor, "chat_template", None):
            raise ModelError(
                f"processor of {self.name!r} must have a chat template, got none: bring the complete folder"
            )
        prompt = self.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        if self.family.pictures:
            blanks = torch.zeros(len(seconds), 3, *self.frame_size, dtype=torch.uint8)
            return dict(self.processor(text=[prompt], images=[list(blanks)], return_tensors="pt"))
        ticks = (seconds.double() * TICKS).round().long()
        if self.family.pairs:
            ticks = ticks.repeat_interleave(2)
        blank = torch.zeros(len(ticks), 3, *self.frame_size, dtype=torch.uint8)
        written = self.processor(
            text=[prompt],
            videos=[blank],
            do_sample_frames=False,
            video_metadata=[metadata(ticks, blank)],
            return_tensors="pt",
            **dict(self.family.settings),
        )
        return dict(written)

    def positions(self, full: dict[str, Tensor], places: Tensor, seconds: Tensor, each: int) -> Tensor | None:
        """(4, 1, S) positions of the whole prompt by the frames' true times; None where they are 1-D."""
        step = self.family.seconds_per_position
        if not self.family.rotary_3d:
            return None
        told = {k: v for k, v in full.items() if k not in ("input_ids", self.family.pixels)}
        found: Tensor = self.model._prepare_position_ids_for_generation(full["input_ids"], told)
        positions = found.cpu()
        if step is None:
            return positions
        if not step:
            step = 1.0 / float(self.model.config.vision_config.tokens_per_second)
        return true_positions(positions, places, seconds, each, step)


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
    family = writer.family
    made["mm_encoder_outputs"] = {
        family.modality: family.together([given["mm_encoder_outputs"][family.modality] for given in each])
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


def metadata(ticks: Tensor, frames: Tensor) -> VideoMetadata:
    """What a processor is told of frames at these ticks."""
    last = int(ticks[-1])
    return VideoMetadata(
        total_num_frames=last + 1,
        fps=float(TICKS),
        width=frames.shape[-1],
        height=frames.shape[-2],
        duration=(last + 1) / TICKS,
        frames_indices=ticks.tolist(),
    )
