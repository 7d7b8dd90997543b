"""Have a family's own processor write a conversation: by its template, and what it writes for each clip.

Each clip is shown to the processor alone, and what it writes for it is put into the conversation by the
processor's own method: some processors can write several videos only where all have as many frames.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, ProcessorMixin

from bvllm.common.subtitles import beside
from bvllm.inference.frame_encoder import TICKS, metadata
from bvllm.inference.model import AskedQuestion
from bvllm.inference.plain_words import plain_words
from bvllm.inference.turns import ClipPlace, Turn, kinds_in, one_turn
from bvllm.model.backbones.families import Family, family_of
from bvllm.model.backbones.several import NAMES, SEVERAL, ClipKind, picture_form
from bvllm.model.folder import ModelError

TYPE_IDS = ("token_type_ids", "mm_token_type_ids")  # which say where visual tokens stand


@dataclass(frozen=True)
class ClipText:
    """What a processor writes in the place of one clip.

    Attributes:
        kind: under which name the processor takes it: a frame of a video may be a picture to it.
        texts: one for each place in the template that stands for it.
        beside: what it gives beside the text that a prompt is read by: grids, seconds.
        type_ids: names of what it gives for each token beside the ids.
    """

    kind: ClipKind
    texts: tuple[str, ...]
    beside: dict[str, Any]
    type_ids: tuple[str, ...]


@dataclass(frozen=True)
class ChatWriter:
    """A family's own processor, writing prompts for blank frames.

    Attributes:
        config: of the model.
        processor: of its family.
        name: of the model, for messages.
        frame_size: (height, width) of frames.
    """

    config: PreTrainedConfig
    processor: ProcessorMixin
    name: str
    frame_size: tuple[int, int]

    @property
    def family(self) -> Family:
        return family_of(self.config)

    def written(self, asked: AskedQuestion, seconds: Sequence[Tensor]) -> tuple[dict[str, Tensor], list[int]]:
        """The prompt for frames of clips at these times, and the clips' numbers as they stand in it."""
        words = plain_words(beside(asked.subtitles) + asked.question.written, self.processor.tokenizer)
        turns = tuple(map(self._plain, asked.turns)) or one_turn(["video"], words)
        kinds = kinds_in(turns)
        clips = [self._clip(kind, at) for kind, at in zip(kinds, seconds, strict=True)]
        prompt = self._templated(turns, [len(clip.texts) for clip in clips])
        [text], [found] = self.processor.get_text_with_replacements(
            [prompt],
            images_replacements=[t for clip in clips if clip.kind == "image" for t in clip.texts],
            videos_replacements=[t for clip in clips if clip.kind == "video" for t in clip.texts],
        )
        # What begins as the template has it must not begin so twice.
        begun = bool(self.processor.tokenizer.bos_token) and text.startswith(
            self.processor.tokenizer.bos_token
        )
        ids = self.processor.tokenizer([text], add_special_tokens=not begun, return_tensors="pt")
        full: dict[str, Tensor] = {"input_ids": ids["input_ids"], "attention_mask": ids["attention_mask"]}
        for name in clips[0].type_ids:
            full[name] = torch.tensor(self.processor.create_mm_token_type_ids(full["input_ids"].tolist()))
        full |= _beside(clips)
        return full, list(_order([place["type"] for place in found], clips))

    def _plain(self, turn: Turn) -> Turn:
        """A turn without anything in its words that the tokenizer would take for a command."""
        tokenizer = self.processor.tokenizer
        return replace(
            turn, parts=tuple(plain_words(p, tokenizer) if isinstance(p, str) else p for p in turn.parts)
        )

    def _templated(self, turns: Sequence[Turn], counts: Sequence[int]) -> str:
        """The conversation by the processor's own template, one place for each text of a clip.

        Raises:
            ModelError: there is no template.
        """
        if not getattr(self.processor, "chat_template", None):
            raise ModelError(
                f"processor of {self.name!r} must have a chat template, got none: bring the complete folder"
            )
        record = SEVERAL.get(str(self.config.model_type))
        labelled = record is not None and record.labelled and len(counts) > 1
        chat = []
        for turn in turns:
            content: list[dict[str, str]] = []
            for part in turn.parts:
                if isinstance(part, str):
                    content.append({"type": "text", "text": part})
                    continue
                if labelled:
                    content.append({"type": "text", "text": _label(part)})
                content += [{"type": self._shown_as(part.kind)}] * counts[part.number]
            chat.append({"role": turn.role, "content": content})
        return str(self.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))

    def _shown_as(self, kind: ClipKind) -> ClipKind:
        return "image" if self.family.pictures else kind

    def _clip(self, kind: ClipKind, seconds: Tensor) -> ClipText:
        """What the processor writes for one clip of blank frames."""
        if kind == "video" and not self.family.pictures:
            ticks = (seconds.double() * TICKS).round().long()
            ticks = ticks.repeat_interleave(2) if self.family.pairs else ticks
            blank = torch.zeros(len(ticks), 3, *self.frame_size, dtype=torch.uint8)
            made = self.processor(
                text=[self.processor.video_token],
                videos=[blank],
                do_sample_frames=False,
                video_metadata=[metadata(ticks, blank)],
                return_tensors="pt",
                return_text_replacement_offsets=True,
                **dict(self.family.settings),
            )
            return _clip_text("video", made, 1)
        form = picture_form(self.config) if kind == "image" else None
        count = len(seconds) if form is None else form.copies
        blank = torch.zeros(3, *self.frame_size, dtype=torch.uint8)
        made = self.processor(
            text=[self.processor.image_token * count],
            images=[[blank] * count],
            return_tensors="pt",
            return_text_replacement_offsets=True,
            **dict(form.settings if form else ()),
        )
        return _clip_text("image", made, count if form is None else 1)


def _clip_text(kind: ClipKind, made: Any, count: int) -> ClipText:
    texts = tuple(str(place["replacement"]) for place in made["text_replacement_offsets"][0])
    kept = {name: value for name, value in made.items() if name.endswith(("grid_thw", "grid_ts"))}
    return ClipText(kind, texts[:count], kept, tuple(name for name in TYPE_IDS if name in made))


def _beside(clips: Sequence[ClipText]) -> dict[str, Any]:
    """Grids and seconds of all clips, each in the order of its kind."""
    found: dict[str, Any] = {}
    for clip in clips:
        for name, value in clip.beside.items():
            if name not in found:
                found[name] = value
            else:
                found[name] = (
                    torch.cat([found[name], value]) if isinstance(value, Tensor) else [*found[name], *value]
                )
    return found


def _order(kinds: Sequence[ClipKind], clips: Sequence[ClipText]) -> Iterator[int]:
    """Numbers of the clips as their places follow one another in the prompt: a template may move them."""
    left: dict[str, list[int]] = {"image": [], "video": []}
    for number, clip in enumerate(clips):
        left[clip.kind] += [number] * len(clip.texts)
    before = None
    for kind in kinds:
        number = left[kind].pop(0)
        if number != before:
            yield number
        before = number


def _label(place: ClipPlace) -> str:
    """What tells a clip from the others, where the family's prompt does not.

    Example:
        >>> _label(ClipPlace(1, "image"))
        'Picture 2: '
    """
    return f"{NAMES[place.kind].capitalize()} {place.number + 1}: "
