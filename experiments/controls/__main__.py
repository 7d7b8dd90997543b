"""`python -m experiments.controls`: what the busy world's questions give away.

    python -m experiments.controls [--control blind|single-frame|bag-of-things|all] [--minutes M]
        [--questions N] [--seed S] [--start MODEL] [--out F.json]
    python -m experiments.controls --rules [--questions N]

Each control is nano's language model, trained and examined on videos that are told in words, with one kind of
knowledge taken away; `all` has everything. With `--rules` no model is trained: rules of thumb are tried.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from bvllm.nano.loop import Control as RunControl
from bvllm.synthetic.tokenizer import build_tokenizer
from experiments.controls.exam import examine, questions
from experiments.controls.learning import compose_pool, start_of, train
from experiments.controls.promises import CONTROLS, Control
from experiments.controls.result import HEAD, Result
from experiments.controls.rules import ask, best_rules
from experiments.controls.telling import asked

TRAIN_SCENES, EXAM_SCENES = 4000, 1500
EXAM_SEED = 77  # no training uses its scenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--control", choices=CONTROLS, help="one of them; all four without it")
    parser.add_argument("--minutes", type=_positive, default=5.0, help="of training, each control")
    parser.add_argument("--steps", type=int, default=100_000, help="the most steps of training")
    parser.add_argument("--questions", type=int, default=150, help="of each task")
    parser.add_argument("--seed", type=int, default=1, help="of training")
    parser.add_argument("--start", default="nano", help="a nano, or the folder of its stage `language`")
    parser.add_argument("--rules", action="store_true", help="rules of thumb in place of models")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.questions < 1 or options.steps < 1:
        parser.error(f"--questions and --steps must be at least 1, got {options.questions}, {options.steps}")
    print(HEAD, flush=True)
    told = []
    for result in rules(options.questions) if options.rules else controls(options):
        print(result.line(), flush=True)
        told.append(asdict(result) | {"shortcut": result.shortcut})
    if options.out:
        options.out.write_text(json.dumps(told, indent=1) + "\n")


def rules(each: int) -> Iterator[Result]:
    """The best rule of thumb of each control, task by task."""
    for examples in ask(each, EXAM_SEED).values():
        yield from best_rules(examples)


def controls(options: argparse.Namespace) -> Iterator[Result]:
    """Train each control and examine it on questions about scenes that no training uses."""
    tokenizer = build_tokenizer()
    pool, unseen = compose_pool(TRAIN_SCENES, options.seed), compose_pool(EXAM_SCENES, EXAM_SEED)
    examples = questions(asked(unseen, EXAM_SEED), options.questions)
    log = RunControl(log=lambda line: print(line, file=sys.stderr, flush=True))
    chosen: tuple[Control, ...] = (options.control,) if options.control else CONTROLS
    for control in chosen:
        model = start_of(options.start, tokenizer)
        train(
            model,
            tokenizer,
            pool,
            control,
            minutes=options.minutes,
            steps=options.steps,
            seed=options.seed,
            run=log,
        )
        yield from examine(model, tokenizer, control, examples, EXAM_SEED)


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}: leave it out for five minutes")
    return value


if __name__ == "__main__":
    main()
