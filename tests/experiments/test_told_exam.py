"""The exam of the language model alone: every task, and another answer where nothing is told."""

from bvllm.synthetic.busy.tasks import BUSY_TASKS
from bvllm.synthetic.tokenizer import build_tokenizer
from experiments.controls.learning import compose_pool, start_of
from experiments.told_exam import examine, questions


def test_every_task_is_asked_and_what_is_told_decides():
    tokenizer, pool = build_tokenizer(), compose_pool(300, 5)
    asked = questions(pool, 2, 5)
    assert sorted(e.question.task for e in asked) == sorted([*BUSY_TASKS] * 2)
    model = start_of("nano", tokenizer)
    whole = examine(model, tokenizer, asked, 5)
    assert whole == examine(model, tokenizer, asked, 5)
    assert sum(whole) >= 8
    words = model.language_model.embed_tokens.weight
    kept, words.data = words.data.clone(), words.data.flip(0).contiguous()  # every word is another
    assert sum(examine(model, tokenizer, asked, 5)) < sum(whole)
    words.data = kept
