"""Files of rows, opened for a stage: read and encoded when they are asked for."""

from collections.abc import Sequence
from pathlib import Path

from bvllm.app.training.corpus import Corpus
from bvllm.app.training.settings import Settings
from bvllm.data.collate import Collator
from bvllm.data.encode import Encoder
from bvllm.data.faults import FaultLog
from bvllm.data.mixture import Mixture, Part
from bvllm.data.readers import RowFile
from bvllm.data.training_set import TrainingSet
from bvllm.model import BVLLMProcessor

FAULTS = "faults.jsonl"


def open_corpus(settings: Settings, stage: str, processor: BVLLMProcessor, folder: Path) -> Corpus:
    """The rows of a stage.

    Args:
        settings: whole.
        stage: "pretrain" or "finetune".
        processor: the model's.
        folder: of the stage; bad rows are listed in it.

    Errors:
        ValueError where a file holds no rows.
    """
    data = settings.data
    encoder = Encoder(processor, max_tokens=data.max_tokens, max_frames=data.max_frames, learn=data.learn)
    faults = FaultLog(data.on_error, folder / FAULTS)
    files, weights = (
        (data.pretrain, data.pretrain_weights)
        if stage == "pretrain"
        else (data.finetune, data.finetune_weights)
    )
    train = Mixture(parts(files, weights, data.root), settings.run.seed)
    evaluate = None
    if data.evaluate:
        seen = Mixture(parts(data.evaluate, (), data.root), shuffle=False)
        evaluate = TrainingSet(seen, encoder, faults)
    return Corpus(
        TrainingSet(train, encoder, faults), Collator(processor), evaluate, train.state_dict(), faults.summary
    )


def parts(files: Sequence[str], weights: Sequence[float], root: str | None) -> list[Part]:
    """Each file with its share of an epoch: its rows times its weight.

    Errors:
        ValueError where a file holds no rows.
    """
    opened = [RowFile(file, root) for file in files]
    shares = [None] * len(files) if not weights else [len(f) * w for f, w in zip(opened, weights)]
    return [Part(file, rows, share) for file, rows, share in zip(files, opened, shares)]
