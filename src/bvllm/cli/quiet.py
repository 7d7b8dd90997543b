"""stderr belongs to us: libraries keep their advice to themselves."""

import logging
import os
import warnings


def quiet() -> None:
    """Silence what libraries print by themselves; to be called before they are imported."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.simplefilter("ignore")
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # tells of every retry
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    disable_progress_bar()
    set_verbosity_error()
