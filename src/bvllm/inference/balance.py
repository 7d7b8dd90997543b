"""Give a transformers video model B-VLLM's balance: `bvllm.balance`, and models that are named."""

import difflib

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.utils import is_torchvision_available

from bvllm.common.text import first_sentence
from bvllm.common.trust import loading, loading_weights
from bvllm.inference.balanced import BalancedModel
from bvllm.inference.recipes import RECIPES
from bvllm.inference.scorer import Scorer, load_scorer
from bvllm.inference.word_scorer import WordScorer, has_words
from bvllm.model.backbones.families import family_of, usual_frame_size
from bvllm.model.folder import ModelError, check_weights


def balance(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    *,
    pipeline: str | None = None,
    scorer: str | Scorer | None = None,
    frame_size: tuple[int, int] | None = None,
    name: str | None = None,
) -> BalancedModel:
    """Put a transformers video model on a token budget. It is used as it is: nothing in it is replaced.

    Args:
        model, processor: as `from_pretrained` gives them; moved and cast by the caller, as they like.
        pipeline: a recipe: "balanced" (the question chooses the frames; the default) or "uniform".
        scorer: a CLIP or SigLIP, by folder or hub id, or loaded already: it says which frames bear on the
            question.
        frame_size: (height, width) in which frames are kept and shown to the processor; None takes the
            tower's, or what gives 256 tokens where it takes any size: 448 x 448 for Qwen2.5-VL.
        name: of the model, for messages.

    Raises:
        ValueError: the family is none that can be reduced, the processor is another's, or the recipe
            needs a scorer.
        ModelError: the scorer cannot be loaded.
    """
    family_of(model.config)
    recipe = check_recipe(pipeline, scorer)
    wanted = PROCESSOR_MAPPING_NAMES[str(model.config.model_type)]
    if all(kind.__name__ != wanted for kind in type(processor).__mro__):
        raise ValueError(
            f"processor must be the model's own {wanted}, got {type(processor).__name__}: load it with "
            "AutoProcessor from the folder of the model"
        )
    called = name or str(model.config._name_or_path or model.config.model_type)
    loaded = load_scorer(scorer, model.device) if isinstance(scorer, str) else scorer
    return BalancedModel(
        model.eval(), processor, called, recipe, loaded, frame_size or usual_frame_size(model.config)
    )


def load_balanced(
    where: str, name: str, *, device: torch.device, pipeline: str | None, scorer: str | None
) -> BalancedModel:
    """Load a model of one of `FAMILIES`, and its own processor; see `load_model`.

    A model that brings words for its tower scores frames by itself where no scorer is named.

    Raises:
        ValueError: the recipe needs a scorer that was not named.
        ModelError: it cannot be read, or its processor needs torchvision.
    """
    own = scorer is None and has_words(where)
    check_recipe(pipeline, where if own else scorer)
    if not is_torchvision_available():
        raise ModelError(
            f"model {name!r} needs torchvision for its own processor, got none: pip install 'bvllm[hf]'"
        )
    try:
        processor = AutoProcessor.from_pretrained(where, **loading())
        model, report = AutoModelForImageTextToText.from_pretrained(
            where,
            dtype=torch.float32 if device.type == "cpu" else "auto",
            output_loading_info=True,
            **loading_weights(),
        )
        check_weights(report)
    except ModelError:
        raise
    except Exception as error:  # transformers, safetensors and the hub raise all kinds for a broken model
        raise ModelError(f"model {name!r} cannot be loaded: {first_sentence(error)}") from error
    model = model.to(device)
    found = WordScorer.load(where, device, model.base_model.vision_tower) if own else scorer
    return balance(model, processor, pipeline=pipeline, scorer=found, name=name)


def check_recipe(recipe: str | None, scorer: str | Scorer | None) -> str:
    """The recipe that is meant: "balanced" with a scorer; without one, nothing is taken for meant.

    Raises:
        ValueError: there is no such recipe, or it needs a scorer that was not named.
    """
    if recipe is not None and recipe not in RECIPES:
        near = difflib.get_close_matches(recipe, RECIPES, n=1)
        raise ValueError(
            f"pipeline must be one of {', '.join(RECIPES)}, got {recipe!r}: "
            + (f"did you mean {near[0]!r}?" if near else "use one of these")
        )
    recipe = recipe or "balanced"
    if scorer is None and RECIPES[recipe]["select_frames"] == "relevant":
        raise ValueError(
            "scorer must be named, got none: add --scorer openai/clip-vit-base-patch32 (scorer=...), so that "
            "the question chooses the frames, or say --pipeline uniform (pipeline='uniform')"
        )
    return recipe
