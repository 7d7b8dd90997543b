"""The Q-Former's shell: queries, masks, questions, attention maps, and states that are read in blocks."""

import copy
import threading

import pytest
import torch

from bvllm.stages import qformer
from bvllm.stages.qformer import LearnedQueries, QFormer
from bvllm.stages.select_frames import FrameSelector

from .parts import QUERIES, READERS, STATES, WIDTH, WORDS, a_config, a_qformer, a_question

each_reader = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)


@each_reader
def test_queries_differ_from_the_start(reader):
    queries = reader()(torch.randn(1, 7, STATES)).queries[0]
    assert torch.pdist(queries).min() > 0.1


def test_queries_are_drawn_with_the_stated_spread():
    weight = LearnedQueries(64, 128).weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert abs(weight.mean().item()) < 0.002


@each_reader
def test_shapes_and_attention(reader):
    out = reader()(torch.randn(2, 7, STATES), output_attentions=True)
    assert out.queries.shape == (2, QUERIES, WIDTH)
    assert out.attention.shape == (2, QUERIES, 7)
    torch.testing.assert_close(out.attention.sum(-1), torch.ones(2, QUERIES))
    assert not torch.allclose(out.attention, torch.full_like(out.attention, 1 / 7), atol=1e-5)


@each_reader
def test_maps_only_where_asked_and_the_same_answer_either_way(reader):
    reader, states = reader(), torch.randn(2, 7, STATES)
    assert reader(states).attention is None
    torch.testing.assert_close(reader(states).queries, reader(states, output_attentions=True).queries)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_map_is_that_of_the_last_cross_attention_averaged_over_heads(attention):
    reader = a_qformer()
    states, mask, (ids, question_mask) = torch.randn(2, 7, STATES), torch.ones(2, 7), a_question(2)
    mask[1, 5:] = 0
    reader.model.set_attn_implementation(attention)
    ours = reader(states, mask.bool(), ids, question_mask, output_attentions=True).attention
    reader.model.set_attn_implementation("eager")
    theirs = reader.model(
        input_ids=ids,
        attention_mask=torch.cat([torch.ones(2, QUERIES), question_mask], dim=1),
        query_embeds=reader.queries(2),
        encoder_hidden_states=states,
        encoder_attention_mask=mask.bool(),
        output_attentions=True,
    ).cross_attentions
    assert len(theirs) == 2  # every other of three layers crosses over
    torch.testing.assert_close(ours, theirs[-1].mean(1))


@each_reader
def test_padded_states_change_nothing(reader):
    reader, (ids, question_mask) = reader(), a_question(2)
    states, mask = torch.randn(2, 9, STATES), torch.ones(2, 9, dtype=torch.bool)
    mask[1, 6:] = False
    batch = reader(states, mask, ids, question_mask, output_attentions=True)
    alone = reader(states[1:, :6], None, ids[1:], question_mask[1:], output_attentions=True)
    torch.testing.assert_close(batch.queries[1:], alone.queries, atol=1e-5, rtol=0)
    torch.testing.assert_close(batch.attention[1:, :, :6], alone.attention, atol=1e-5, rtol=0)
    assert not batch.attention[1, :, 6:].any()


@pytest.mark.parametrize("side", ["right", "left"])
def test_padded_questions_change_nothing(side):
    reader, states, (ids, _) = a_qformer(), torch.randn(1, 7, STATES), a_question(1, 4)
    pad, one = torch.zeros(1, 3, dtype=torch.long), torch.ones(1, 4, dtype=torch.long)
    order = [0, 1] if side == "right" else [1, 0]
    padded = torch.cat([[ids, pad][i] for i in order], dim=1)
    mask = torch.cat([[one, pad][i] for i in order], dim=1)
    alone = reader(states, None, ids).queries
    torch.testing.assert_close(reader(states, None, padded, mask).queries, alone, atol=1e-5, rtol=0)


def test_the_question_counts_and_so_does_its_order():
    reader, states = a_qformer(), torch.randn(1, 7, STATES)
    asked = [reader(states, None, torch.tensor([ids])).queries for ids in ([1, 2, 3], [3, 2, 1], [1, 2, 4])]
    asked.append(reader(states).queries)
    for i in range(4):
        for j in range(i):
            assert not torch.allclose(asked[i], asked[j], atol=1e-4)


def test_a_resampler_without_words_does_not_read_the_question():
    reader, states = READERS["resampler"](), torch.randn(1, 7, STATES)
    assert torch.equal(reader(states, None, *a_question()).queries, reader(states).queries)


def test_a_question_longer_than_the_position_table_is_cut():
    reader, states = a_qformer(), torch.randn(1, 3, STATES)
    ids = torch.randint(1, WORDS, (1, 14))
    torch.testing.assert_close(reader(states, None, ids).queries, reader(states, None, ids[:, :10]).queries)


@each_reader
def test_gradients_reach_queries_and_states(reader):
    reader, states = reader().train(), torch.randn(1, 5, STATES, requires_grad=True)
    reader(states, None, *a_question(), output_attentions=True).queries.square().sum().backward()
    assert reader.queries.weight.grad.abs().min() > 0
    assert states.grad.abs().sum() > 0


def test_two_threads_do_not_mix_their_maps():
    reader = a_qformer()
    states = [torch.randn(1, 5 + i, STATES) for i in range(4)]
    expected = [reader(x, output_attentions=True).attention for x in states]
    got: dict[int, list[torch.Tensor | None]] = {i: [] for i in range(4)}

    def ask(i):
        for turn in range(10):
            got[i].append(reader(states[i], output_attentions=turn % 2 == 0).attention)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        assert all((map is None) == bool(turn % 2) for turn, map in enumerate(got[i]))
        for map in got[i][::2]:
            torch.testing.assert_close(map, expected[i])


def test_a_copy_and_a_reload_read_alike_and_have_maps():
    reader, states = a_qformer(), torch.randn(1, 5, STATES)
    again = a_qformer()
    again.load_state_dict(reader.state_dict())
    for other in (copy.deepcopy(reader), again):
        torch.testing.assert_close(
            other(states, output_attentions=True), reader(states, output_attentions=True)
        )


def test_the_config_is_left_as_it_was():
    config = a_config()
    before = config.to_dict()
    QFormer(config, 2)
    assert config.to_dict() == before


@each_reader
def test_half_precision(reader):
    reader = reader().bfloat16()
    out = reader(torch.randn(1, 5, STATES), output_attentions=True)
    assert out.queries.dtype == torch.bfloat16
    assert out.queries.isfinite().all()


@each_reader
@pytest.mark.parametrize(
    "states, mask, says",
    [
        (torch.zeros(5, STATES), None, r"states must be .* got shape \(5, 12\)"),
        (torch.zeros(1, 5, STATES), torch.ones(1, 4), r"states_mask must be \(1, 5\), got shape \(1, 4\)"),
    ],
)
def test_messages_about_states(reader, states, mask, says):
    with pytest.raises(ValueError, match=says):
        reader()(states, mask)


def test_messages():
    reader, states = a_qformer(), torch.zeros(2, 5, STATES)
    ids = torch.ones(1, 3, dtype=torch.long)
    with pytest.raises(ValueError, match=r"question_ids must be \(2, tokens\), got shape \(1, 3\)"):
        reader(states, None, ids)
    with pytest.raises(ValueError, match=r"question_mask must have .* \(2, 3\), got \(2, 2\)"):
        reader(states, None, ids.expand(2, -1), ids.expand(2, -1)[:, :2])
    with pytest.raises(ValueError, match="num_queries must be at least 1, got 0"):
        QFormer(a_config(), 0)


@pytest.fixture
def blocks(monkeypatch):
    """Reads at most five states at a time; gives the lengths of what was projected to keys."""
    seen = []
    monkeypatch.setattr(qformer, "STATES_AT_A_TIME", 5)

    def watch(reader):
        for layer in reader.model.encoder.layer:
            if layer.has_cross_attention:
                layer.crossattention.attention.key.register_forward_hook(
                    lambda module, args, out: seen.append(out.shape[1])
                )
        return seen

    return watch


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(
    "padded", [(), (3,), (3, 17)], ids=["whole", "one padded", "all but two blocks padded"]
)
def test_blocks_give_what_one_piece_gives(blocks, attention, padded):
    reader, states, (ids, words) = a_qformer().eval(), 3 * torch.randn(2, 23, STATES), a_question(2)
    reader.model.set_attn_implementation(attention)
    mask = torch.ones(2, 23, dtype=torch.bool)
    for row, count in enumerate(padded):
        mask[row, :count] = False  # a whole first block may be padding
    whole = reader(states, mask, ids, words).queries  # with a graph: in one piece
    seen = blocks(reader)
    with torch.no_grad():
        found = reader(states, mask, ids, words).queries
    torch.testing.assert_close(found, whole.detach(), atol=1e-5, rtol=1e-5)
    assert set(seen) == {5, 3}


def test_half_precision_in_blocks_is_as_near_as_in_one_piece(blocks):
    exact = a_qformer().eval()
    states, (ids, words) = torch.randn(1, 64, STATES), a_question(1)
    wanted = exact(states, None, ids, words).queries
    rough = exact.bfloat16()
    whole = rough(states, None, ids, words).queries.float()
    blocks(rough)
    with torch.no_grad():
        found = rough(states, None, ids, words).queries.float()
    assert (found - wanted).norm() <= 1.5 * (whole - wanted).norm()


def test_short_clips_and_training_read_in_one_piece(blocks):
    reader = a_qformer().eval()
    seen = blocks(reader)
    reader(torch.randn(1, 23, STATES))
    with torch.no_grad():
        reader(torch.randn(1, 5, STATES))
    assert set(seen) == {23, 5}


def test_maps_of_blocks_are_of_all_states(blocks):
    reader, states = a_qformer().eval(), torch.randn(1, 23, STATES)
    whole = reader(states, output_attentions=True).attention
    with torch.no_grad():
        torch.testing.assert_close(reader(states, output_attentions=True).attention, whole)


@pytest.mark.parametrize("time_channels", [0, 7])
def test_the_selector_scores_the_same_in_blocks(blocks, time_channels):
    selector = FrameSelector(a_qformer(), WIDTH, STATES, time_channels).eval()
    frames, seconds = torch.randn(1, 23, STATES), torch.arange(23.0)[None]
    mask = torch.ones(1, 23, dtype=torch.bool)
    whole = selector(frames, mask, seconds).detach()
    blocks(selector.reader)
    with torch.no_grad():
        torch.testing.assert_close(selector(frames, mask, seconds), whole, atol=1e-5, rtol=1e-5)
