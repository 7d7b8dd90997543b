import pytest

from bvllm.model import BVLLMForConditionalGeneration
from bvllm.synthetic.tokenizer import build_tokenizer
from experiments.reproduction.make import tables_of
from experiments.reproduction.scale import DURATIONS
from experiments.reproduction.tables import TABLES
from experiments.reproduction.variants import BASE, FULL, frames_and_tokens, sharpness, token_budget


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_claims_are_about_rows_of_their_table(table):
    for claim in table.claims:
        assert {claim.better, claim.worse} <= set(table.variants), claim.text
        assert set(claim.columns) <= set(DURATIONS)
        assert claim.better != claim.worse


def test_names_tell_variants_apart():
    variants = {v for table in TABLES.values() for v in table.variants}
    assert len({v.name for v in variants}) == len(variants)


TRAINED = {v.trained.name: v.trained for t in TABLES.values() for v in t.variants}


@pytest.mark.parametrize("name", sorted(TRAINED))
def test_every_variant_is_a_model(name, tokenizer):
    variant = TRAINED[name]
    config = variant.config(tokenizer)
    changes = dict(variant.changes)
    for field in set(BASE) - set(changes):
        if field != "tokens_per_frame" or config.token_sampler != "none":  # then it is all patches
            assert getattr(config, field) == BASE[field]
    BVLLMForConditionalGeneration(config)


def test_points_of_a_figure_that_are_the_base_are_the_same_variant():
    assert frames_and_tokens(16, 8) is sharpness(0.1, 0.75) is token_budget(64) is FULL


def test_an_unknown_table_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'table3'"):
        tables_of("tabel3")


@pytest.mark.parametrize("name", ["figure3", "figure5", "beyond"])
def test_without_extras_one_training_is_left(name):
    [whole], [cut] = tables_of(name), tables_of(name, extras=False)
    assert {variant.trained for variant in cut.variants} == {FULL}
    assert {row for row in whole.rows if row.variant.trained == FULL} == set(cut.rows)
    assert all({claim.better, claim.worse} <= set(cut.variants) for claim in cut.claims)
    assert 0 < len(cut.claims) < len(whole.claims)


def test_a_table_of_trainings_has_no_extras():
    assert tables_of("table3", extras=False) == tables_of("table3")
