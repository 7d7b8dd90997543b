"""Make what all variants share: the tower, the banks of frames, the language model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from bvllm.common.trust import loading_weights
from bvllm.inference.model_name import resolve_model
from bvllm.model import BVLLMForConditionalGeneration
from bvllm.nano.language import WHERE
from bvllm.nano.loop import Control
from bvllm.nano.progress import RUN, is_done, mark_done
from bvllm.nano.start import tower_of, words_of
from bvllm.nano.train import Recipe, language_stage
from bvllm.synthetic.tokenizer import build_tokenizer, world_words
from bvllm.training.checkpoints import write_whole_file
from experiments.reproduction.scale import FOREVER, WORLDS, Scale
from experiments.reproduction.train import LANGUAGE, TOWER, banks_of

NANO = "nano"
SCALE = "scale.json"


def prepare(home: Path, scale: Scale, *, workers: int, warm: Path | None, log: Callable[[str], None]) -> None:
    """Draw and encode the banks, and warm the language model up, unless the folder has them.

    Args:
        warm: folder of a `bvllm train nano` on both worlds, whose tower and language model are taken over;
            nano's own are gone on from where None.

    Raises:
        ValueError: the folder was made at another scale, or `warm` has no finished tower and language model
            of both worlds.
    """
    home.mkdir(parents=True, exist_ok=True)
    told = json.dumps(scale.to_json(), indent=1)
    if not (home / SCALE).exists():
        write_whole_file(home / SCALE, told)
    if (home / SCALE).read_text() != told:
        raise ValueError(f"out must be a folder of this miniature, got {home}: choose a new folder")
    if warm is not None:
        _check_warm(warm)
        for name in (TOWER, LANGUAGE):
            _take(warm / name, home / name)
    _keep_tower(home / TOWER)
    _draw_banks(home, scale, workers, log)
    _warm_up(home, scale, log)


def scale_of(home: Path) -> Scale:
    """How large the miniature in a folder is."""
    return Scale.of_json(json.loads((home / SCALE).read_text()))


def _check_warm(warm: Path) -> None:
    finished = is_done(warm / TOWER) and is_done(warm / LANGUAGE) and (warm / LANGUAGE / WHERE).is_file()
    run = warm / RUN  # a folder of finished stages alone has none
    told_of_both = not run.is_file() or json.loads(run.read_text())["recipe"]["busy_scenes"] > 0
    if not (finished and told_of_both):
        raise ValueError(
            "warm must be a folder of `bvllm train nano` with a finished tower and language model of both "
            f"worlds, got {warm}: leave it out to go on from nano"
        )


def _take(source: Path, folder: Path) -> None:
    """Copy a finished stage; the mark comes last, so that a copy that was cut short is made again."""
    if is_done(folder):
        return
    folder.mkdir(exist_ok=True)
    for file in sorted(source.iterdir(), key=lambda file: file.name == "done"):
        shutil.copy(file, folder)


def _keep_tower(folder: Path) -> None:
    """Nano's tower, kept beside what it encodes: a later run goes on with it, whatever nano is then."""
    if not is_done(folder):
        tower_of(NANO).save_pretrained(folder)
        mark_done(folder)


def _draw_banks(home: Path, scale: Scale, workers: int, log: Callable[[str], None]) -> None:
    model: BVLLMForConditionalGeneration | None = None
    for plan in banks_of(scale):
        for world in WORLDS:
            if plan.path(home, world).exists():
                continue
            log(f"drawing {plan.scenes[world]} scenes of the {world} world to {plan.name} on")
            model = model or _encoder(home / TOWER)
            plan.draw(home, world, model.model, workers=workers, control=Control(log))


def _encoder(tower: Path) -> BVLLMForConditionalGeneration:
    """A model with the kept tower; its other parts are not used."""
    model = BVLLMForConditionalGeneration.from_pretrained(
        resolve_model(NANO), dtype=torch.float32, **loading_weights()
    )
    model.model.vision_tower = type(model.model.vision_tower).from_pretrained(tower, dtype=torch.float32)
    return model.eval()


def _warm_up(home: Path, scale: Scale, log: Callable[[str], None]) -> None:
    """Read videos of both worlds told in words, gone on from nano's language model."""
    knows_both = set(world_words()) <= words_of(NANO)
    recipe = Recipe(
        language_steps=scale.known_language_steps if knows_both else scale.language_steps,
        language_batch=scale.language_batch,
        language_minutes=FOREVER,
        start=NANO,
    )
    busy = None if is_done(home / LANGUAGE) else banks_of(scale)[0].read(home).busy
    language_stage(home / LANGUAGE, build_tokenizer(), recipe, resume=True, control=Control(log), busy=busy)
