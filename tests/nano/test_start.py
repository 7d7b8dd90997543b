"""A language model that is gone on from keeps its words, wherever the new vocabulary has them."""

from dataclasses import dataclass

import pytest
import torch

import bvllm
from bvllm.model.presets import nano_text
from bvllm.nano.start import language_of, tower_of


@dataclass
class Words:
    """A vocabulary in another order, with a word that nano does not know."""

    known: dict[str, int]

    def get_vocab(self):
        return self.known


@pytest.fixture(scope="module")
def nano():
    return bvllm.load_model("nano")


def config(size, **changes):
    made = nano_text(size, pad_token_id=0, eos_token_id=1)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_words_move_with_their_vectors_and_new_ones_are_noise_of_their_scale(nano):
    old = nano.processor.tokenizer.get_vocab()
    words = Words({"zyzzyva": 0, **{word: len(old) - place for word, place in old.items()}})
    language_model, clock, _ = language_of("nano", words, config(len(old) + 1))
    table = language_model.embed_tokens.weight
    trained = nano.model.model.language_model.embed_tokens.weight.float()
    for word in ("red", "star", "<|video|>"):
        assert torch.equal(table[words.known[word]], trained[old[word]])
    assert float(table[0].std()) == pytest.approx(float(trained.std()), rel=0.3)
    layer = language_model.layers[2].mlp.up_proj.weight
    assert torch.equal(layer, nano.model.model.language_model.layers[2].mlp.up_proj.weight.float())
    seconds = torch.tensor([83.0])
    assert torch.allclose(clock(seconds), nano.model.model.clock.float()(seconds), atol=1e-2)


def test_new_words_start_alike_whatever_was_drawn_before():
    words = Words({"zyzzyva": 0, "red": 1})
    torch.manual_seed(1)
    first, _, _ = language_of("nano", words, config(2))
    torch.manual_seed(2)
    again, _, _ = language_of("nano", words, config(2))
    assert torch.equal(first.embed_tokens.weight, again.embed_tokens.weight)


def test_a_model_of_another_size_is_refused(nano):
    with pytest.raises(ValueError, match=r"start must be a nano with a clock.*leave it out"):
        language_of("nano", Words({}), config(8, num_hidden_layers=2))


def test_a_tower_is_gone_on_from(nano):
    own = nano.model.model.vision_tower.state_dict()
    found = tower_of("nano").state_dict()
    assert all(torch.equal(found[name], own[name].float()) for name in own)
