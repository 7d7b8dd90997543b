"""Recipes by name: each call returns full settings, to be overridden."""

from collections.abc import Callable

from bvllm.app.training.settings import ModelSettings, Part, RunSettings, Settings, StageSettings

# Sec. 7.1: alignment trains the frame selector and the projector, instruction tuning all but the tower.
ALIGNED: tuple[Part, ...] = ("frame_selector", "multi_modal_projector")
TUNED: tuple[Part, ...] = (*ALIGNED, "token_sampler", "clock", "language_model")


def paper_7b() -> Settings:
    """The paper's run (arXiv 2412.09919, Sec. 7.1); what it does not tell (warm-up, clipping) is LLaVA's.

    For CLIP instead of EVA ViT-g: model.vision=openai/clip-vit-large-patch14-336.
    """
    return Settings(
        model=ModelSettings(
            vision="Salesforce/instructblip-vicuna-7b",
            qformer="Salesforce/instructblip-vicuna-7b",
            language_model="Qwen/Qwen2-7B-Instruct",
        ),
        alignment=StageSettings(trains=ALIGNED, lr=1e-3, schedule="linear", batch=256),
        instruction=StageSettings(
            trains=TUNED, lr=1e-4, schedule="cosine", batch=128, lora_rank=128, lora_alpha=256
        ),
    )


def tiny() -> Settings:
    """Every step of the paper's run, on a model made from random numbers: a minute on two CPU cores."""
    return Settings(
        model=ModelSettings(num_selected_frames=8, tokens_per_frame=4, budget_tokens=16, time_channels=8),
        alignment=StageSettings(trains=ALIGNED, lr=1e-3, schedule="linear", batch=8, max_steps=20),
        instruction=StageSettings(
            trains=TUNED, lr=1e-3, schedule="cosine", batch=8, max_steps=20, lora_rank=8, lora_alpha=16
        ),
        run=RunSettings(
            precision="fp32", per_device=4, checkpointing=False, save_every=10, evaluate_every=10
        ),
    )


RECIPES: dict[str, Callable[[], Settings]] = {"paper_7b": paper_7b, "tiny": tiny}
