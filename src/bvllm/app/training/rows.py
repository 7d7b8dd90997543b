"""Files of rows, opened for a stage: read and encoded when they are asked for."""

from pathlib import Path

from bvllm.app.training.corpus import Corpus
from bvllm.app.training.settings import Settings
from bvllm.app.training.sources import StageData, of_stage, order_of, parts
from bvllm.data.budget import RandomBudget
from bvllm.data.collate import Collator
from bvllm.data.encode import Encoder
from bvllm.data.faults import FaultLog
from bvllm.data.mixture import Mixture
from bvllm.data.training_set import TrainingSet
from bvllm.model import BVLLMProcessor

FAULTS = "faults.jsonl"


def open_corpus(settings: Settings, stage: StageData, processor: BVLLMProcessor, folder: Path) -> Corpus:
    """The rows of a stage.

    Args:
        settings: whole.
        stage: "pretrain" or "finetune".
        processor: the model's.
        folder: of the stage; bad rows are listed in it.

    Errors:
        ValueError where a file holds no rows; OSError where a stream cannot be opened.
    """
    data = settings.data
    encoder = Encoder(processor, max_tokens=data.max_tokens, max_frames=data.max_frames, learn=data.learn)
    faults = FaultLog(data.on_error, folder / FAULTS)
    order, budget = order_of(settings, stage), random_budget(settings)
    per_step = None if budget is None else of_stage(settings, stage)[2].batch
    train = TrainingSet(order, encoder, faults, budget=budget, rows_per_step=per_step)
    evaluate = None
    if data.evaluate:
        seen = Mixture(parts(data.evaluate, (), data.root), shuffle=False)
        evaluate = TrainingSet(seen, encoder, faults)
    return Corpus(train, Collator(processor), evaluate, order.state_dict(), faults.summary)


def random_budget(settings: Settings) -> RandomBudget | None:
    """What draws the budget of each step; None where all steps have the model's own."""
    fewest = settings.data.random_budget
    if fewest is None:
        return None
    return RandomBudget(fewest, settings.model.budget_tokens, settings.run.seed)
