"""The language side of a loaded B-VLLM: prompts, what it says to them, and how likely its options are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList, StoppingCriteriaList

from bvllm.common.subtitles import beside
from bvllm.common.text import LETTERS
from bvllm.inference.beginning import Finite, begun, read_clip
from bvllm.inference.beside import fitting
from bvllm.inference.hearing import Hear, HearingStreamer
from bvllm.inference.model import AskedQuestion, VisualTokens
from bvllm.inference.options import option_log_probabilities, reply_forms, reply_scores
from bvllm.inference.plain_words import plain_length, plain_words
from bvllm.inference.session import PromptCache
from bvllm.inference.together import GivenUp, Turn, can_stand_together, side_by_side
from bvllm.model import BVLLMForConditionalGeneration, BVLLMProcessor
from bvllm.model.folder import ModelError


@dataclass(frozen=True)
class LanguageSide:
    """What reads prompts and answers them; see `VideoModel` and `AnswersTogether`.

    Attributes:
        model, processor: that belong together.
        name: what the model was asked for by.
    """

    model: BVLLMForConditionalGeneration
    processor: BVLLMProcessor
    name: str = ""

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return torch.device(self.model.device)

    def check_numbers(self, values: Tensor, what: str) -> None:
        """Refuse what no sound weights give.

        Raises:
            ModelError: a value is NaN or infinite.
        """
        if not bool(values.isfinite().all()):
            raise ModelError(
                f"model {self.name!r} must give finite numbers, got NaN or infinity in {what}: its "
                "weights are damaged, or do not fit its configuration"
            )

    def fit_subtitles(self, asked: AskedQuestion, visual: VisualTokens, max_new_tokens: int) -> AskedQuestion:
        """As many subtitles as the language model's positions leave room for; see `VideoModel`."""
        if not asked.subtitles:
            return asked
        positions = self.model.config.text_config.max_position_embeddings
        used = self._prompt(replace(asked, subtitles=()), visual).shape[1]
        tokenizer = self.processor.tokenizer
        kept = fitting(
            asked.subtitles,
            visual.selections[0].seconds.tolist(),
            positions - used - max_new_tokens,
            lambda text: plain_length(text, tokenizer),
        )
        return replace(asked, subtitles=kept)

    def generate(
        self,
        asked: AskedQuestion,
        visual: VisualTokens,
        max_new_tokens: int,
        prompt: PromptCache | None = None,
        hear: Hear | None = None,
    ) -> str:
        """What the language model says, greedily, to one user turn that begins with one clip."""
        ids, hearing = self._prompt(asked, visual), None
        if hear is not None:
            hearing = HearingStreamer(self.processor.tokenizer, [hear], self._closing)
        with begun(self.model, ids, visual, prompt) as given:
            said = self._say(ids, torch.ones_like(ids), max_new_tokens, hearing, **given)
        words: str = self.processor.tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True)
        return words.strip()

    def read_ahead(self, turn: Turn) -> None:
        """Put the prompt's beginning into its cache; see `AnswersTogether`."""
        if turn.visual.pruning is None:
            read_clip(self.model, self._prompt(turn.asked, turn.visual), turn.visual, turn.prompt)

    def answer_together(self, turns: Sequence[Turn], max_new_tokens: int) -> list[str]:
        """What `generate` says to each; see `AnswersTogether`."""
        ids = [self._prompt(turn.asked, turn.visual) for turn in turns]
        alone = any(turn.visual.pruning is not None for turn in turns)  # tokens drop inside, each its own way
        states = [] if alone else [read_clip(self.model, r, t.visual, t.prompt) for r, t in zip(ids, turns)]
        if alone or not all(map(can_stand_together, states)):
            return [self.generate(t.asked, t.visual, max_new_tokens, t.prompt, t.hear) for t in turns]
        together = side_by_side(ids, states, self.model.config.text_config.pad_token_id or 0)
        hearing = HearingStreamer(
            self.processor.tokenizer, [t.hear for t in turns], self._closing, [row.shape[1] for row in ids]
        )
        stop = StoppingCriteriaList([GivenUp(turns)])
        said = self._say(
            together.ids,
            together.mask,
            max_new_tokens,
            hearing,
            stopping_criteria=stop,
            past_key_values=together.states,
        )
        new = said[:, together.ids.shape[1] :]
        return [self.processor.tokenizer.decode(row, skip_special_tokens=True).strip() for row in new]

    def _say(
        self,
        ids: Tensor,
        mask: Tensor,
        max_new_tokens: int,
        hearing: HearingStreamer | None,
        **given: Any,
    ) -> Tensor:
        """(B, S + n) prompts with what is said to them, greedily."""
        said: Tensor = self.model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            logits_processor=LogitsProcessorList([Finite(self.check_numbers)]),
            streamer=hearing,
            **given,
        )
        return said

    def option_scores(
        self, asked: AskedQuestion, visual: VisualTokens, said: str, prompt: PromptCache | None = None
    ) -> list[float]:
        """Log-probability that the reply is an option, in any of its usual spellings; see `VideoModel`."""
        options = asked.question.options
        evidence = said[: said.rindex("=") + 1] + " " if "=" in said else ""
        forms = [form for k, option in enumerate(options) for form in reply_forms(option, LETTERS[k])]
        written = [self._reply_ids(evidence + form.text, ends=form.ends) for form in forms]
        ids = self._prompt(asked, visual)
        with torch.inference_mode(), begun(self.model, ids, visual, prompt) as given:
            states = given.pop("past_key_values")
            scores = reply_scores(self.model, ids[:, states.get_seq_length() :], states, written, **given)
        self.check_numbers(scores, "logits")
        return option_log_probabilities(scores, written, len(options))

    def _reply_ids(self, text: str, *, ends: bool) -> list[int]:
        """The tokens of what a reply begins with, or of a whole one."""
        tokenizer = self.processor.tokenizer
        ids: list[int] = tokenizer(plain_words(text, tokenizer), add_special_tokens=False)["input_ids"]
        return [*ids, self._closing[0]] if ends else ids

    @property
    def _closing(self) -> list[int]:
        """Ids of the tokens that end a reply, the usual one first."""
        closing = self.model.generation_config.eos_token_id
        if closing is None:
            closing = self.processor.tokenizer.eos_token_id
        return [int(k) for k in closing] if isinstance(closing, list) else [int(closing)]

    def _prompt(self, asked: AskedQuestion, visual: VisualTokens) -> Tensor:
        """(1, S) one user turn that begins with one clip, ready for the reply."""
        text = plain_words(beside(asked.subtitles) + asked.question.written, self.processor.tokenizer)
        written = self.processor.prompt_ids(
            [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": text}]}],
            visual.lengths or [],
        )
        ids: Tensor = written["input_ids"].to(self.device)
        return ids
