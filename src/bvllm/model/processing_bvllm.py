"""Turn a chat into model inputs: prompt with placeholders, pixels with seconds, Q-Former question.

Nothing here needs torchvision, without which transformers has no video processors of its own: two methods
that look sub-processors up by name are replaced.
"""

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor
from transformers import BatchFeature, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.processing_utils import ProcessorMixin

from bvllm.model.chat_template import check_variables, render_chats
from bvllm.model.configuration_bvllm import BVLLMConfig, PlaceholderCount
from bvllm.model.conversation import Conversation
from bvllm.model.folder import check_processor
from bvllm.model.prompts import Prompts
from bvllm.model.video_processing_bvllm import (
    BVLLMVideoProcessor,
    TimedFeature,
    VideoSource,
    is_batch,
)
from bvllm.video.chat_parts import Message, with_subtitles

VIDEO_TOKEN = "<|video|>"
# Tokens the Q-Formers read; of longer ones the end: what is asked stands last. The released code has 256.
LONGEST_QUESTION = 128
TURN_END = "<|im_end|>"
# ChatML, as Qwen2 speaks it. What the assistant says lies between generation marks: only that is learned.
DEFAULT_CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- set parts = message['content'] -%}"
    "{%- if parts is string -%}{%- set parts = [{'type': 'text', 'text': parts}] -%}{%- endif -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "{% generation %}"
    "{%- for part in parts -%}{{ part['text'] }}{%- endfor -%}{{ '<|im_end|>' }}"
    "{% endgeneration %}"
    "{%- else -%}"
    "{%- for part in parts -%}"
    "{%- if part['type'] == 'text' -%}{{ part['text'] }}{%- else -%}{{ video_token + '\\n' }}{%- endif -%}"
    "{%- endfor -%}"
    "{{ '<|im_end|>' }}"
    "{%- endif -%}"
    "{{ '\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)


class BVLLMProcessor(ProcessorMixin):
    """Prompts, pixels and questions for a B-VLLM.

    Images are clips of one frame and share the videos' placeholder.

    Args:
        video_processor: pixels.
        tokenizer: the language model's; it must know `video_token` as one token.
        qformer_tokenizer: the Q-Formers'; may be the same tokenizer.
        chat_template: Jinja that writes `video_token` for each video or image part, with generation marks
            around what the assistant says. ChatML where None.
        video_token: the placeholder.
        num_selected_frames, tokens_per_frame, budget_tokens, choose_frames, merge_frames: see
            `PlaceholderCount`; as in the model's configuration. `for_model` fills them in.

    Outputs: `input_ids` and `attention_mask` (padded on the left), `pixel_values_videos`, `video_num_frames`,
    `video_seconds`, `qformer_input_ids` and `qformer_attention_mask` (one row per clip).
    """

    tokenizers: ClassVar[tuple[str, ...]] = ("tokenizer", "qformer_tokenizer")  # in a folder, by their names

    def __init__(
        self,
        video_processor: BVLLMVideoProcessor,
        tokenizer: PreTrainedTokenizerBase,
        qformer_tokenizer: PreTrainedTokenizerBase,
        chat_template: str | None = None,
        video_token: str = VIDEO_TOKEN,
        num_selected_frames: int = 32,
        tokens_per_frame: int = 32,
        budget_tokens: int = 512,
        choose_frames: bool = True,
        merge_frames: bool = True,
    ) -> None:
        self.video_token, self.video_token_id = video_token, placeholder_id(tokenizer, video_token)
        self.num_selected_frames, self.tokens_per_frame = num_selected_frames, tokens_per_frame
        self.budget_tokens, self.choose_frames = budget_tokens, choose_frames
        self.merge_frames = merge_frames
        template = chat_template or DEFAULT_CHAT_TEMPLATE
        super().__init__(video_processor, tokenizer, qformer_tokenizer, chat_template=template)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Any:
        """As upstream, of a folder that holds a processor of this class.

        Raises:
            ValueError: it holds another processor.
        """
        said, _ = cls.get_processor_dict(pretrained_model_name_or_path, **kwargs)
        check_processor(said, cls.__name__)
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    @classmethod
    def for_model(
        cls,
        config: BVLLMConfig,
        tokenizer: PreTrainedTokenizerBase,
        qformer_tokenizer: PreTrainedTokenizerBase,
        *,
        chat_template: str | None = None,
        fps: float | None = 1.0,
    ) -> "BVLLMProcessor":
        """The processor that counts as the model does, for its tower's pixels."""
        return cls(
            BVLLMVideoProcessor.for_tower(config.vision_config, fps=fps),
            tokenizer,
            qformer_tokenizer,
            chat_template,
            tokenizer.convert_ids_to_tokens(config.video_token_id),
            config.placeholders.frames,
            config.placeholders.tokens_per_frame,
            config.placeholders.budget_tokens,
            config.placeholders.choose,
            config.placeholders.merge_frames,
        )

    @property
    def placeholders(self) -> PlaceholderCount:
        """How many placeholders stand for a clip; follows the attributes."""
        return PlaceholderCount(
            self.num_selected_frames,
            self.tokens_per_frame,
            self.budget_tokens,
            choose=self.choose_frames,
            merge_frames=self.merge_frames,
        )

    @property
    def model_input_names(self) -> list[str]:
        """Everything that the model takes from here."""
        question = ["qformer_input_ids", "qformer_attention_mask"]
        return ["input_ids", "attention_mask", *self.video_processor.model_input_names, *question]

    def __call__(
        self,
        images: VideoSource | list[VideoSource] | None = None,
        text: str | list[str] | None = None,
        videos: VideoSource | list[VideoSource] | None = None,
        *,
        qformer_text: str | list[str] | None = None,
        video_seconds: list[list[float]] | None = None,
        fps: float | None = None,
        max_frames: int | None = None,
        add_special_tokens: bool = True,
        padding: bool = True,
        return_tensors: str | None = "pt",
    ) -> BatchFeature:
        """Prepare prompts that hold one placeholder per clip.

        Args:
            images: pictures, each with a placeholder of its own, where there are no videos; put both into
                `videos` to mix them.
            text: prompts.
            videos: clips of all prompts, in reading order.
            qformer_text: one question per prompt, or one for all; needed with videos.
            video_seconds, fps, max_frames: see `BVLLMVideoProcessor.preprocess`.
            add_special_tokens: let the tokenizer add its own; off for rendered chats.
            padding: pad prompts on the left to one length.
            return_tensors: "pt", or None for lists of ids.

        Raises:
            ValueError: placeholders and clips differ in number, or a question is missing.
        """
        texts = [text] if isinstance(text, str) else list(text or [])
        if images is not None and videos is not None:
            raise ValueError(
                "videos must hold pictures, too, where there are both, got images= beside videos=: they "
                "share one placeholder, so list all in reading order in videos="
            )
        clips = videos if videos is not None else images
        given: Any = clips  # a list of sources, or one source; of pictures each is a clip of its own
        several = is_batch(given) or (isinstance(given, list | tuple) and images is not None)
        sources = [] if given is None else list(given) if several else [given]
        reading = {"video_seconds": video_seconds, "fps": fps, "max_frames": max_frames}
        questions = [qformer_text] * len(texts) if isinstance(qformer_text, str) else qformer_text
        prompts = Prompts(texts, add_special_tokens, padding, return_tensors)
        seen = self._see(sources, reading, prompts) if sources else {}
        return TimedFeature(self._assemble(prompts, len(sources), questions, seen))

    def apply_chat_template(
        self,
        conversation: list[Message] | list[list[Message]],
        chat_template: str | None = None,
        *,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = False,
        return_dict: bool = True,
        return_tensors: str | None = "pt",
        return_assistant_tokens_mask: bool = False,
        padding: bool = True,
        fps: float | None = None,
        max_frames: int | None = None,
        num_frames: int | None = None,
        processor_kwargs: dict[str, Any] | None = None,
        visual_tokens: list[int] | list[str] | None = None,
        **template_kwargs: Any,
    ) -> str | list[str] | BatchFeature | Tensor:
        """Render chats and, with `tokenize`, prepare everything the model takes.

        Frames are chosen for the last user turn of each chat: its text, without options, is what the
        Q-Formers read.

        Args:
            conversation: one chat, or a list of chats. A video's part may name its `subtitles`, an SRT or VTT
                file, which become text beside the video and no part of the question.
            chat_template: instead of the processor's.
            add_generation_prompt, continue_final_message: as in transformers.
            tokenize: False returns the text, placeholders not yet repeated.
            return_dict: False returns `input_ids` only.
            return_assistant_tokens_mask: add `assistant_masks`, 1 on what the assistant says.
            fps, max_frames, num_frames: see `BVLLMVideoProcessor.preprocess`.
            processor_kwargs: more of its arguments, as transformers' own callers pass them.
            visual_tokens: how many tokens each clip has been turned into already; then no pixels are read,
                parts need no source, and the prompt holds exactly so many placeholders. Texts are written as
                they are.
            **template_kwargs: variables of the template; `video_token` is there already.
        """
        single = bool(conversation) and isinstance(conversation[0], dict)
        given: list[Any] = [conversation] if single else list(conversation)
        chats: list[Any] = [with_subtitles(chat) for chat in given]
        check_variables(
            template_kwargs, chat_template or self.chat_template, ("fps", "max_frames", "num_frames")
        )
        prompts, spans = render_chats(
            chats,
            chat_template or self.chat_template,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            return_assistant_tokens_mask=return_assistant_tokens_mask,
            **{"video_token": self.video_token, **self.tokenizer.special_tokens_map, **template_kwargs},
        )
        if not tokenize:
            return prompts[0] if single else prompts
        read = [Conversation.of(chat) for chat in chats]
        sources = [clip for chat in read for clip in chat.clips]
        reading = {"fps": fps, "max_frames": max_frames, "num_frames": num_frames} | (processor_kwargs or {})
        written = Prompts(
            prompts, False, padding, return_tensors, spans if return_assistant_tokens_mask else None
        )
        seen = self._see(sources, reading, written) if sources and visual_tokens is None else {}
        data = self._assemble(
            written,
            len(sources),
            [chat.question for chat in read],
            seen,
            visual_tokens,
        )
        return TimedFeature(data) if return_dict else data["input_ids"]

    def prompt_ids(self, chat: list[Message], visual_tokens: list[int]) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask` of one chat whose clips are visual tokens already: (1, S).

        As `apply_chat_template` with `visual_tokens`, without tokenising the question for the Q-Formers
        again.
        """
        text = self.apply_chat_template(chat, add_generation_prompt=True)
        prompts = Prompts([str(text)], add_special_tokens=False, padding=True, return_tensors="pt")
        return prompts.tokenize(self.tokenizer, self.video_token, visual_tokens)

    def _see(
        self, sources: list[VideoSource | None], reading: dict[str, Any], prompts: Prompts
    ) -> Mapping[str, Tensor]:
        """What the model takes of the clips, beside the prompts that speak of them."""
        return self._pixels(self._named(sources), reading, self._written(prompts, len(sources)))

    def _pixels(
        self, sources: list[VideoSource], reading: dict[str, Any], written: list[int]
    ) -> Mapping[str, Tensor]:
        """Pixels and times of clips, of which each prompt has so many."""
        return self.video_processor.prepare(sources, **reading)

    def _named(self, sources: list[VideoSource | None]) -> list[VideoSource]:
        """The sources, of which none may be left out."""
        if any(source is None for source in sources):
            raise ValueError(
                "every video and image part must name its source, got one that does not: "
                'add "path", "video" or "image" to it, or pass visual_tokens'
            )
        return [source for source in sources if source is not None]

    def question_ids(self, questions: list[str]) -> dict[str, Tensor]:
        """What the Q-Formers read: one row per question, of which the last `LONGEST_QUESTION` tokens."""
        self.qformer_tokenizer.truncation_side = "left"
        encoded = self.qformer_tokenizer(
            questions, padding=True, truncation=True, max_length=LONGEST_QUESTION, return_tensors="pt"
        )
        return {
            "qformer_input_ids": encoded["input_ids"].long(),  # nothing asked is an empty tensor of floats
            "qformer_attention_mask": encoded["attention_mask"].long(),
        }

    def check_argument_for_proper_class(self, argument_name: str, argument: object) -> type:
        """As upstream, which looks the video processor's class up among names that need torchvision."""
        if argument_name != "video_processor":
            return super().check_argument_for_proper_class(argument_name, argument)
        if not isinstance(argument, BVLLMVideoProcessor):
            raise TypeError(
                f"video_processor must be a BVLLMVideoProcessor, got {type(argument).__name__}: "
                "make one with BVLLMVideoProcessor.for_tower"
            )
        return BVLLMVideoProcessor

    @classmethod
    def _get_arguments_from_pretrained(cls, pretrained_model_name_or_path, processor_dict=None, **kwargs):
        """As upstream, without the auto class that needs torchvision."""
        path, subfolder = pretrained_model_name_or_path, kwargs.pop("subfolder", "")
        # Without one AutoTokenizer looks for a configuration, and complains about a type it need not know.
        kwargs = {"config": PreTrainedConfig(), **kwargs}
        tokenizers = [
            cls._load_tokenizer_from_pretrained(name, path, subfolder=subfolder, **kwargs)
            for name in cls.tokenizers
        ]
        return [BVLLMVideoProcessor.from_dict((processor_dict or {})["video_processor"]), *tokenizers]

    def _written(self, prompts: Prompts, clips: int) -> list[int]:
        """How many clips each prompt speaks of, which must be as many as there are."""
        written = [text.count(self.video_token) for text in prompts.texts]
        if sum(written) != clips:
            raise ValueError(
                f"prompts must hold one {self.video_token} for each of {clips} clips, got {sum(written)}: "
                "write one where each video or image belongs, and none in the text of a message"
            )
        return written

    def _assemble(
        self,
        prompts: Prompts,
        clips: int,
        questions: list[str] | None,
        seen: Mapping[str, Tensor],
        counts: list[int] | list[str] | None = None,
    ) -> dict[str, Any]:
        """Prompts, pixels and questions in one dictionary, checked against each other."""
        written = self._written(prompts, clips)
        if not clips:
            return prompts.tokenize(self.tokenizer, self.video_token, [])
        if questions is None or len(questions) != len(prompts.texts):
            raise ValueError(
                f"qformer_text must be one question for each of {len(prompts.texts)} prompts, "
                f"got {questions!r}: "
                "it decides which frames are seen"
            )
        if counts is None:
            counts = [self.placeholders.count(int(frames)) for frames in seen["video_num_frames"]]
        asked = [question for question, clip_count in zip(questions, written) for _ in range(clip_count)]
        texts = [c if isinstance(c, str) else self.video_token * c for c in counts]
        encoded = prompts.tokenize_written(self.tokenizer, self.video_token, texts)
        return encoded | dict(seen) | self.question_ids(asked)


def placeholder_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """The id of the placeholder.

    Raises:
        ValueError: the tokenizer does not know it as one token.
    """
    found = tokenizer.convert_tokens_to_ids(token)
    if found in (None, tokenizer.unk_token_id):
        raise ValueError(
            f"tokenizer must know {token!r} as one token, got {found}: "
            "add it with tokenizer.add_special_tokens"
        )
    return int(found)
