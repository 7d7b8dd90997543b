"""Read request bodies: which fields there are, what they may hold, and what happens to those we do not know.

One rule for unknown fields: a field that is neither ours nor OpenAI's is refused with 400 and the nearest
name, since what was misspelt would otherwise be ignored. A field of OpenAI's that cannot change an answer is
accepted and ignored; one that would change it, and that we cannot honour, is refused. `null` means absent.
"""

import difflib
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bvllm.methods.names import MethodNames
from bvllm.server.errors import ApiError, clean, wrong_request

MOST_ERROR_CHARS = 120
Text = Annotated[str, Field(max_length=1_000_000)]
Whole = Annotated[int, Field(strict=True)]


class Fields(BaseModel):
    """A JSON object with exactly these fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class StreamOptions(Fields):
    """What is said in a stream beside the answer."""

    include_usage: bool = False
    include_obfuscation: bool | None = None


class VideoKnobs(Fields):
    """`media_io_kwargs.video`, as lmms-eval and vLLM's clients write it."""

    num_frames: Whole | None = None
    fps: float | None = None


class MediaKnobs(Fields):
    """`media_io_kwargs`."""

    video: VideoKnobs = VideoKnobs()


class Spending(Fields):
    """Our own fields: what an answer may cost, and how it is spent.

    Attributes:
        token_budget, frames: visual tokens and frames at most; the model's own where absent.
        fps: frames sampled per second.
        start, end: seconds of the part that is asked about.
        pipeline: methods in the slots of the pipeline, by name; see docs/methods.md.
        options: what to choose from.
    """

    token_budget: Whole | None = None
    frames: Whole | None = None
    fps: float | None = None
    start: float | None = None
    end: float | None = None
    pipeline: dict[str, str | int] | None = None
    options: list[Text] | None = None
    media_io_kwargs: MediaKnobs | None = None

    def methods(self) -> MethodNames:
        """The pipeline as one value.

        Raises:
            ApiError: a slot or a method is unknown.
        """
        slots = {"select_frames", "merge_frames", "sample_tokens", "merge_tokens", "tokens_policy", "seed"}
        given: dict[str, Any] = dict(self.pipeline or {})
        for name in given.keys() - slots:
            raise wrong_request(_unknown(name, slots, "pipeline"), "pipeline", "unknown_field")
        try:
            return MethodNames(**given)
        except (ValueError, TypeError) as error:
            raise wrong_request(clean(str(error)), "pipeline") from error


# OpenAI's fields that cannot change what is answered here.
IGNORED = frozenset(
    "user metadata store service_tier safety_identifier prompt_cache_key prompt_cache_retention "
    "parallel_tool_calls prediction reasoning_effort verbosity seed modalities truncation include "
    "reasoning max_tool_calls".split()
)
# OpenAI's fields with the only values that we can honour; `None` always is one.
ONLY: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "audio": (),
    "web_search_options": (),
    "previous_response_id": (),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "logit_bias": ({},),
    "background": (False,),
    "conversation": (),
    "prompt": (),
    "text": ({"format": {"type": "text"}},),
}


class _Request(Spending):
    """What both routes share."""

    model: Text | None = None
    stream: bool = False
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop(cls, given: Any) -> Any:
        """Without what is absent or ignored, and after refusing what cannot be honoured."""
        if not isinstance(given, dict):
            return given
        for name, values in ONLY.items():
            said = given.get(name)
            same = any(type(said) is type(value) and said == value for value in values)
            if said is not None and not same:
                raise wrong_request(
                    f"{name} must be left out here, got a value that would change the answer: remove it",
                    name,
                    "unsupported_field",
                )
        known = cls.model_fields.keys()
        dropped = (IGNORED | ONLY.keys()) - known
        return {k: v for k, v in given.items() if v is not None and k not in dropped}


class ChatRequest(_Request):
    """POST /v1/chat/completions."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=1000)]
    max_tokens: Whole | None = None
    max_completion_tokens: Whole | None = None
    stop: Text | Annotated[list[Text], Field(max_length=4)] | None = None
    stream_options: StreamOptions | None = None


class ResponsesRequest(_Request):
    """POST /v1/responses."""

    input: Text | Annotated[list[dict[str, Any]], Field(min_length=1, max_length=1000)]
    instructions: Text | None = None
    max_output_tokens: Whole | None = None
    stream_options: StreamOptions | None = None


class SearchRequest(Fields):
    """POST /v1/search."""

    query: Annotated[Text, Field(min_length=1)]
    top: Annotated[Whole, Field(ge=1, le=100)] = 10


class SignRequest(Fields):
    """POST /v1/files/{id}/signed_url."""

    seconds: Annotated[Whole, Field(ge=1, le=3600)] = 600


Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], given: object) -> Model:
    """The body as one value.

    Raises:
        ApiError: a field is unknown, missing, or holds what it may not.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _error_of(error, model) from None


def _error_of(error: ValidationError, model: type[BaseModel]) -> ApiError:
    """The first fault, in our words; the value itself is not repeated."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])[:MOST_ERROR_CHARS]
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return wrong_request(
            _unknown(str(first["loc"][0]), model.model_fields.keys(), "request"), where, "unknown_field"
        )
    code = "missing_field" if first["type"] == "missing" else "invalid_value"
    why = " ".join(first["msg"].split())[:MOST_ERROR_CHARS]
    return wrong_request(f"{where or 'body'} must fit the API, got: {why}: see docs/serving.md", where, code)


def _unknown(name: str, known: Any, where: str) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else "remove it"
    return f"{where} must hold known fields only, got {name[:64]!r}: {hint}"
