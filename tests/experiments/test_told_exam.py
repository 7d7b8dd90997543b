"""The exam of the language model alone: every task, and another answer where nothing is told."""

from bvllm.synthetic.busy.tasks import BUSY_TASKS
from bvllm.synthetic.tokenizer import build_tokenizer
from experiments.controls.exam import questions
from experiments.controls.learning import compose_pool, start_of
from experiments.told_exam import asked, examine


def test_every_task_is_asked_and_what_is_told_decides():
    tokenizer, pool = build_tokenizer(), compose_pool(300, 5)
    examples = questions(asked(pool, 5), 2)
    assert sorted(e.question.task for e in examples) == sorted([*BUSY_TASKS] * 2)
    model = start_of("nano", tokenizer)
    whole = examine(model, tokenizer, examples, 5)
    assert whole == examine(model, tokenizer, examples, 5)
    assert sum(whole) >= 8
    words = model.language_model.embed_tokens.weight
    kept, words.data = words.data.clone(), words.data.flip(0).contiguous()  # every word is another
    assert sum(examine(model, tokenizer, examples, 5)) < sum(whole)
    words.data = kept
