"""The embedded model from end to end: videos of the world on disk, questions, answers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import bvllm
from bvllm.cli import main
from bvllm.common.text import Question
from bvllm.data.chat import Row, read_rows
from bvllm.evaluation.evaluate import Report, evaluate
from bvllm.inference.ask import LoadedModel, answer, encode_video, load_model
from bvllm.synthetic import make_world
from bvllm.types import Budget, Questions

SECONDS = 40.0
TASKS = ["retrieval_edit", "retrieval_insert2", "position", "direction", "existence", "colour"]


@pytest.fixture(scope="module")
def nano() -> LoadedModel:
    return load_model("nano")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Three videos of combinations that training never drew, of a seed that training never used."""
    out = tmp_path_factory.mktemp("world")
    make_world(out, split="test", count=3, seconds=(SECONDS, SECONDS), seed=90210, tasks=TASKS, workers=1)
    return out


@pytest.fixture(scope="module")
def rows(world) -> list[Row]:
    return read_rows(world / "test.jsonl")


@pytest.fixture(scope="module")
def report(world) -> Report:
    return evaluate(world, model="nano", circular=False)


def test_it_answers_questions_about_videos_it_never_saw(report):
    assert len(report.rows) >= 9
    assert report.figures()["accuracy"].overall.mean >= 0.6, report.table()


def test_it_looks_at_the_frames_that_show_the_needle(report):
    assert report.figures()["selection_recall"].overall.mean >= 0.9, report.table()


def test_it_needs_few_frames(report):
    assert report.figures()["distinct_frames"].overall.mean <= 16


def test_batches_threads_and_repetition_change_nothing(world, rows, nano):
    row, seen = rows[0], []
    for threads in (1, 2, 2):
        encoded = encode_video(world / row.video, nano, threads=threads)
        found = answer(encoded, row.question, nano, options=row.options)
        seen.append((found.text, [frame.index for frame in found.frames], found.tokens))
    assert seen[0] == seen[1] == seen[2]


def test_clips_in_one_batch_get_the_frames_they_get_alone(world, rows, nano):
    encoded = [encode_video(world / name, nano) for name in sorted({row.video for row in rows})]
    question = nano.read(Question.parse(rows[0].question)).tokens
    many = Questions(*(x.expand(len(encoded), -1) for x in question))
    with torch.inference_mode():
        features, seconds = [e.frame_features for e in encoded], [e.seconds for e in encoded]
        together = nano.model.select_frames(features, seconds, many)
        alone = [nano.model.select_frames([f], [s], question)[0] for f, s in zip(features, seconds)]
    assert [s.frames.tolist() for s in together] == [s.frames.tolist() for s in alone]


@pytest.mark.parametrize("tokens", [1, 7, 64])
def test_the_budget_is_a_promise(world, rows, nano, tokens):
    encoded = encode_video(world / rows[0].video, nano)
    found = answer(encoded, rows[0].question, nano, budget=Budget(tokens=tokens, frames=32))
    assert found.tokens <= tokens


def test_the_processor_and_generate_see_what_ask_sees(world, rows, nano):
    row = rows[0]
    encoded = encode_video(world / row.video, nano)
    asked = answer(encoded, row.question, nano)
    parts = [{"type": "video", "path": str(world / row.video)}, {"type": "text", "text": row.question}]
    inputs = nano.processor.apply_chat_template(
        [{"role": "user", "content": parts}],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=True,
    )
    with torch.inference_mode():
        written = nano.model.generate(**inputs, max_new_tokens=48, do_sample=False)
    said = nano.processor.tokenizer.decode(
        written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    assert said.strip() == asked.text


def test_the_command_line_prints_answer_cost_and_times(world, rows, capsys):
    row = rows[0]
    assert main(["ask", str(world / row.video), row.question, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["answer"]
    assert found["tokens"] <= 512
    assert all(0 <= frame["seconds"] <= SECONDS for frame in found["frames"])


BOTH_WAYS = """
import sys
try:
    exec(sys.argv[1], {})
except Exception:
    print("without: failed")
names = {}
exec(sys.argv[2], names)
print(type(names["model"]).__name__, type(names["processor"]).__name__)
"""


def test_the_card_says_how_transformers_learns_of_it():
    """The card's own code, in a process where nothing else has imported the package."""
    card = (Path(bvllm.__file__).parent / "assets/nano/README.md").read_text(encoding="utf-8")
    code = card.partition("```python\n")[2].partition("```")[0]
    assert "import bvllm.hf" in code
    without = code.replace("import bvllm.hf", "")
    done = subprocess.run(
        [sys.executable, "-c", BOTH_WAYS, without, code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["without:", "failed", "BVLLMForConditionalGeneration", "BVLLMProcessor"]


def test_a_saved_copy_keeps_its_word_tower_and_its_knowledge_until_it_is_trained(nano, tmp_path):
    model = type(nano.model).from_pretrained(nano.model.name_or_path)
    model.save_pretrained(tmp_path / "same")
    assert {"word_tower.safetensors", "knowledge.json"} <= {
        file.name for file in (tmp_path / "same").iterdir()
    }
    with torch.no_grad():
        model.lm_head.weight += 0.1
    model.save_pretrained(tmp_path / "head")
    found = {file.name for file in (tmp_path / "head").iterdir()}
    assert "word_tower.safetensors" in found
    assert "knowledge.json" not in found
    with torch.no_grad():
        next(model.model.vision_tower.parameters()).add_(0.1)
    model.save_pretrained(tmp_path / "tower")
    assert not (tmp_path / "tower" / "word_tower.safetensors").exists()
