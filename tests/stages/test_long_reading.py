"""States that are read in blocks: the same answer, and no keys and values of all of them at once."""

import pytest
import torch

from bvllm.stages import long_reading
from bvllm.stages.select_frames import FrameSelector

from .parts import STATES, WIDTH, a_qformer, a_question


@pytest.fixture
def blocks(monkeypatch):
    """Reads at most five states at a time; gives the lengths of what was projected to keys."""
    seen = []
    monkeypatch.setattr(long_reading, "STATES_AT_A_TIME", 5)

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


def test_maps_are_of_all_states(blocks):
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
