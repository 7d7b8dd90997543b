"""Dynamic-VLM's tables: every row is trained once, examined once, and compared with intervals."""

import json
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from benchmarks.speed.result import Conditions
from bvllm.nano.busy_pool import draw_busy_pool
from bvllm.nano.dynamic.exam import exam_clips, with_options
from bvllm.nano.dynamic.steps import picture_sets
from bvllm.nano.dynamic.train import finish_stage, read_stage
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.frame_dataset import FrameDataset
from bvllm.nano.language import Where
from bvllm.nano.loop import Control
from bvllm.nano.progress import mark_done
from bvllm.nano.start import WarmParts
from experiments.reproduction import dynamic
from experiments.reproduction.dynamic import DynamicScale, make_dynamic
from experiments.reproduction.dynamic_page import columns_of, page_of
from experiments.reproduction.dynamic_tables import NO_TIME, PRUNED, TABLES
from tests.model.dynamic.tiny_dynamic import dynamic_model
from tests.test_messages import HOUSE

SMALL = DynamicScale(
    projector_steps=1,
    shared_steps=1,
    steps=1,
    room=200,
    shared_seconds=(8, 10),
    seconds=(8, 10),
    most=64,
    busy=1.0,
)


def parts_of(model):
    """What a warm run leaves, at the size of the tests."""
    inner = model.model
    where = Where(inner.config.text_config.hidden_size)
    return WarmParts(inner.vision_tower, None, inner.language_model, inner.clock, where)


def built(*_, compressor, **__):
    return dynamic_model(clock=True, compressor=compressor)


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """Random features of a few busy scenes, and a tiny model in the place of an aligned one."""
    pool = draw_busy_pool(8, seed=3, image_size=32, workers=1)
    plain = FrameDataset(torch.zeros(0, 3, 32, 32), (), torch.zeros(0), torch.zeros(0))
    bank = FeatureCache.index(plain, torch.randn(len(pool), 16), torch.randn(len(pool), 16, 16), pool)
    monkeypatch.setattr(dynamic, "NATIVE", 16)
    model = dynamic_model(clock=True)
    finish_stage(tmp_path / "native-pool", model)
    asked = list(islice(with_options(exam_clips(bank, (8, 12), 10, 5, busy=True)), 6))
    sets = tuple(islice(with_options(picture_sets(bank, 5)), 4))
    made = dynamic.Workshop(
        tmp_path, SMALL, parts_of(model), bank, bank, tuple(asked), sets, 0.25, Control(print)
    )
    monkeypatch.setattr(dynamic.Workshop, "open", lambda *_: made)
    return tmp_path


@pytest.mark.parametrize("name", TABLES)
def test_claims_name_rows_and_variants_differ_in_what_they_say(name):
    table = TABLES[name]
    assert all(0 <= k < len(table.rows) for _, *pair in table.claims for k in pair)
    assert all((row.tokens is None) != (row.each is None) for row in table.rows)
    by_name = {}
    for row in table.rows:
        assert by_name.setdefault(row.variant.name, row.variant) == row.variant


def test_a_table_is_made_and_goes_on(workshop, monkeypatch):
    page = make_dynamic("dynamic_tradeoff", workshop, seeds=1, scale=SMALL)
    assert page.count("frames |") >= 5
    assert "guessing" in page
    trained = []
    monkeypatch.setattr(dynamic, "tune_dynamic", lambda *_, **__: trained.append(1))
    again = make_dynamic("dynamic_tradeoff", workshop, seeds=1, scale=SMALL)
    assert again.splitlines()[:12] == page.splitlines()[:12]
    assert not trained


def test_sets_of_pictures_are_asked_about_beside_the_videos(workshop):
    page = make_dynamic("dynamic_pictures", workshop, seeds=1, scale=SMALL)
    assert "|  | plain | busy | sets of pictures | the paper |" in page
    assert page.count("| sets in training help |") == 3
    told = json.loads((workshop / "dynamic_pictures.json").read_text())
    assert {len(found[0]) for found in told["right"].values()} == {6 + 4}


def test_nothing_lies_where_the_other_tables_keep_theirs(workshop, monkeypatch):
    make_dynamic("dynamic_tradeoff", workshop, seeds=1, scale=SMALL)
    assert (workshop / "dynamic" / "run.json").is_file()
    assert not (workshop / "run.json").exists()


def test_a_folder_that_began_from_other_weights_is_refused(workshop):
    for name, byte in (("one", b"1"), ("two", b"2"), ("same", b"1")):
        for stage in ("tower", "language"):
            (workshop / name / stage).mkdir(parents=True)
            (workshop / name / stage / "model.safetensors").write_bytes(byte)
            mark_done(workshop / name / stage)
    make_dynamic("dynamic_tradeoff", workshop, seeds=1, scale=SMALL, warm=workshop / "one")
    make_dynamic("dynamic_tradeoff", workshop, seeds=1, scale=SMALL, warm=workshop / "same")
    for warm in (workshop / "two", None):
        with pytest.raises(ValueError, match="recipe"):
            make_dynamic("dynamic_tradeoff", workshop, seeds=1, scale=SMALL, warm=warm)
    with pytest.raises(
        ValueError, match="warm must be a run of nano with a finished tower and language"
    ) as error:
        make_dynamic("dynamic_tradeoff", workshop, seeds=1, scale=SMALL, warm=workshop)
    assert HOUSE.search(str(error.value))


def test_a_stage_that_was_killed_begins_anew(workshop, monkeypatch):
    """From a checkpoint a stage goes on with other draws and ends in other figures: it must leave none."""
    given = []
    monkeypatch.setattr(dynamic, "build_dynamic", built)
    monkeypatch.setattr(dynamic, "align_cells", lambda *_, **settings: given.append(settings))
    monkeypatch.setattr(dynamic, "tune_dynamic", lambda *_, **settings: given.append(settings))
    made = dynamic.Workshop.open()
    made.start("queries")
    made.trained(PRUNED, 1)
    assert [settings["control"].folder for settings in given] == [None] * 3
    assert given[0]["native_share"] == 1.0  # at any other grid pooling would be practised alone


def test_a_specialist_of_64_a_frame_trains_and_answers_with_64_up_to_its_longest_clip(workshop, monkeypatch):
    scale = DynamicScale()
    assert scale.most == 64 * scale.seconds[1]
    given = []

    def likely(model, tokenizer, exam, clips, budgets, **_):
        given.extend(budgets)
        return [np.zeros(2)] * len(clips)

    monkeypatch.setattr(dynamic, "option_likelihoods", likely)
    made = dynamic.Workshop.open()
    monkeypatch.setattr(dynamic.Workshop, "trained", lambda *_: None)
    row = next(row for row in TABLES["dynamic_elastic"].rows if row.each == 64)
    made.answers(row, 1, made.asked)
    assert given == [min(SMALL.most, 64 * len(clip.rows)) for clip in made.asked]


def test_queries_have_a_start_of_their_own_and_others_share_one(workshop, monkeypatch):
    monkeypatch.setattr(dynamic, "build_dynamic", built)
    made = dynamic.Workshop.open()
    assert made.start("prune") == made.start("merge") == workshop / "native-pool"
    start = made.start("queries")
    assert read_stage(start).config.compressor == "queries"
    monkeypatch.setattr(dynamic, "align_cells", None)  # it is there: nothing is trained again
    monkeypatch.setattr(dynamic, "tune_dynamic", None)
    assert made.start("queries") == start


def test_a_folder_of_another_scale_is_refused(workshop):
    make_dynamic("dynamic_tradeoff", workshop, seeds=1, scale=SMALL)
    with pytest.raises(ValueError, match="recipe"):
        make_dynamic("dynamic_tradeoff", workshop, seeds=1, scale=replace(SMALL, steps=2))


def test_variants_without_times_share_the_weights_they_have(workshop):
    first = read_stage(workshop / "native-pool")
    bare = dynamic.changed(first, NO_TIME)
    assert bare.model.clock is None
    assert torch.equal(
        bare.model.multi_modal_projector.linear_1.weight, first.model.multi_modal_projector.linear_1.weight
    )


def test_a_page_says_which_orders_hold():
    table = TABLES["dynamic_compressors"]
    right = [np.ones((2, 40)), np.ones((2, 40)), np.zeros((2, 40))]
    told, columns = Conditions.now("a test"), columns_of([8] * 40, "worlds")
    page = page_of(table, right, columns, 0.25, [1, 2], told)
    assert "| pooling is above pruning | all | +100.0 (+100.0 to +100.0) | agrees |" in page
    assert "| pooling is above merging | all | +0.0 (+0.0 to +0.0) | not told apart |" in page
    with pytest.raises(ValueError, match="frames must be of an even number of videos") as odd:
        columns_of([8] * 39, "worlds")
    with pytest.raises(ValueError, match="right must hold 40 questions in all rows") as fewer:
        page_of(table, [*right[:2], right[2][:, 2:]], columns, 0.25, [1, 2], told)
    assert all(HOUSE.search(str(error.value)) for error in (odd, fewer))


def test_a_page_by_length_counts_a_clip_in_the_column_of_its_frames():
    table = TABLES["dynamic_lengths"]
    frames = [8, 16, 17, 64] * 2  # of the plain world, then of the busy one
    short = np.array([[n <= 16 for n in frames]], dtype=float)
    columns = columns_of(frames, "lengths")
    assert [column.name for column in columns] == ["up to 16 s", "up to 32 s", "up to 64 s", "all"]
    assert [sum(int(b.sum()) for b in column.blocks) for column in columns] == [4, 2, 2, 8]
    told = Conditions.now("a test")
    page = page_of(table, [short, 0 * short, 0 * short], columns, 0.25, [1], told)
    assert "| dynamic | 100.0 (100-100) | 0.0 (0-0) | 0.0 (0-0) | 50.0" in page
    assert (
        "| dynamic is above a model of that count | up to 16 s | +100.0 (+100.0 to +100.0) | agrees |" in page
    )
    assert (
        "| dynamic is above a model of that count | up to 64 s | +0.0 (+0.0 to +0.0) | not told apart |"
        in page
    )
