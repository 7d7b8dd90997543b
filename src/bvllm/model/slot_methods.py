"""Build the pipeline that a configuration describes: methods by name, with a model's trained parts."""

from typing import Any, NamedTuple

from torch import nn

from bvllm.methods import METHODS, NONE
from bvllm.model.configuration_bvllm import BVLLMConfig
from bvllm.model.connectors.bridge import connector_stage
from bvllm.model.vision_tower import hidden_size, patch_columns, patch_count
from bvllm.stages.allocate import POLICIES
from bvllm.stages.merge_frames import SimilarFrameMerging
from bvllm.stages.method import FrameMethod, Slot
from bvllm.stages.pipeline import Pipeline
from bvllm.stages.sample_tokens import FrameSampling, PerClip, PooledTokens, TokenStage
from bvllm.stages.select_frames import LearnedSelection
from bvllm.types import MethodRefused


class Trained(NamedTuple):
    """The trained parts of a model, as they are now: adapters and shards put wrappers around them.

    Attributes:
        frame_selector, token_sampler: None where the model has none.
        connector: the projector, or the baseline's bridge in its place.
        training: whether choices are soft.
    """

    frame_selector: nn.Module | None
    token_sampler: nn.Module | None
    connector: nn.Module
    training: bool


def build_pipeline(config: BVLLMConfig, own: BVLLMConfig, parts: Trained) -> Pipeline:
    """Fill the four slots.

    Args:
        config: names the methods, and gives the paper's own their numbers.
        own: what the parts were built by.
        parts: of the model.

    Raises:
        MethodRefused: a slot asks for a trained part that the model does not have, or for what it cannot
            give.
    """
    return Pipeline(
        select_frames=_selection(config, own, parts),
        merge_frames=_untrained("merge_frames", config),
        sample_tokens=_sampling(config, own, parts),
        merge_tokens=_untrained("merge_tokens", config),
        policy=None if config.tokens_policy == NONE else POLICIES[config.tokens_policy](),
    )


def _selection(
    config: BVLLMConfig, own: BVLLMConfig, parts: Trained
) -> LearnedSelection | FrameMethod | None:
    name = config.select_frames
    if name == NONE or not METHODS["select_frames"][name].learned:
        return _untrained("select_frames", config)
    if name != own.select_frames or parts.frame_selector is None:
        raise _not_trained("select_frames", name, own.select_frames)
    choice: Any = config.choice if parts.training else "hard"  # one of its names: the configuration checks
    _check_queries("num_selected_frames", config.num_selected_frames, parts.frame_selector, fewer=True)
    return LearnedSelection(
        parts.frame_selector,
        config.num_selected_frames,
        choice,
        config.tau,
        certainty=config.certainty,
        least_strength=config.least_strength,
        second_choices=config.second_choices,
    )


def _sampling(config: BVLLMConfig, own: BVLLMConfig, parts: Trained) -> TokenStage:
    name, tower = config.sample_tokens, config.vision_config
    stage: TokenStage
    if name == own.sample_tokens and parts.token_sampler is not None:
        _check_queries("tokens_per_frame", config.tokens_per_frame, parts.token_sampler)
        return FrameSampling(parts.token_sampler)
    if config.connector_samples:
        frames, columns = config.num_selected_frames, patch_columns(tower)
        stage = connector_stage(config.connector, parts.connector, frames, patch_count(tower), columns)
    elif name == NONE:
        stage = FrameSampling(None)
    elif name == "pool":
        stage = FrameSampling(PooledTokens(config.tokens_per_frame, patch_columns(tower)))
    elif METHODS["sample_tokens"][name].learned:
        raise _not_trained("sample_tokens", name, own.sample_tokens)
    else:
        stage = PerClip(_untrained("sample_tokens", config))
    if name != own.sample_tokens:
        _check_bridge(name, own)
    return stage


def _check_bridge(name: str, own: BVLLMConfig) -> None:
    """Refuse patches where what brings tokens to the language model was built for the sampler's."""
    if own.connector is not None:
        raise _not_trained("sample_tokens", name, own.sample_tokens, untrained=False)
    sampled, channels = own.spatial_qformer_config.hidden_size, hidden_size(own.vision_config)
    if own.sample_tokens == "qformer" and sampled != channels:
        raise ValueError(
            f'sample_tokens must be "qformer" where its tokens are {sampled} wide and patches {channels}, '
            f"got {name!r}: this model's projector reads the former; build another model"
        )


def _check_queries(name: str, asked: int, part: nn.Module, *, fewer: bool = False) -> None:
    """Refuse a number in the configuration that the trained queries do not have: it would do nothing."""
    queries = getattr(getattr(part, "reader", None), "queries", None)
    built = asked if queries is None else len(queries.weight)
    if asked > built or (asked < built and not fewer):
        raise ValueError(
            f"config.{name} must be what the model was built with, {built}, got {asked}: "
            "spend less with a smaller budget, or build another model"
        )


def _untrained(slot: Slot, config: BVLLMConfig) -> Any:
    """The method that a configuration names, which has no weights: of frames or of tokens, by the slot."""
    name = getattr(config, slot)
    if name == NONE:
        return None
    method = METHODS[slot][name]
    if slot == "select_frames" and "relevance" in method.needs:
        raise MethodRefused(
            f"select_frames must be a method that asks no scorer, got {name!r}: this model's own selector "
            "reads the question"
        )
    if slot in ("sample_tokens", "merge_tokens") and "question" in method.needs:
        raise MethodRefused(
            f"{slot} must be a method that asks for no words of the question, got {name!r}: this model has "
            "none in the space of its tokens; use another method, or a model of transformers"
        )
    return method(config.gamma) if issubclass(method, SimilarFrameMerging) else method()


def _not_trained(slot: Slot, name: str, own: str, *, untrained: bool = True) -> MethodRefused:
    others = ", or an untrained method" if untrained else ""
    return MethodRefused(
        f"{slot} must be {own!r}, which this model was trained with{others}, got {name!r}: "
        "choose another method, or a model that has it"
    )
