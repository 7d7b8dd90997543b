"""The language model sees rows without gaps, and nobody outside can tell."""

import pytest
import torch

from bvllm.model.packing import Packing, used_placeholders
from bvllm.types import Budget
from tests.model import tiny

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def masked_oracle(model, inputs):
    """Logits of the whole layout, unused slots masked out of attention and passed over by positions."""
    visual = model.get_video_features(**{k: v for k, v in inputs.items() if "video" in k or "qformer" in k})
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    used = model.model.used_placeholders(ids, visual)
    unused = (ids == model.config.video_token_id) & ~used
    assert unused.any(), "the test needs slots that are not used"
    embeds = model.get_input_embeddings()(ids).masked_scatter(
        used[..., None], torch.cat(visual.pooler_output)
    )
    seen = mask * ~unused
    states = model.model.language_model(
        inputs_embeds=embeds, attention_mask=seen, position_ids=(seen.cumsum(1) - 1).clamp_min(0)
    ).last_hidden_state
    return model.lm_head(states), seen.bool()


def test_dropping_unused_slots_is_the_same_as_masking_them():
    model, inputs = tiny.agreeing_model(), tiny.batch(*tiny.mixed_chats())
    expected, seen = masked_oracle(model, inputs)
    torch.testing.assert_close(model(**inputs).logits[seen], expected[seen], **CLOSE)


def test_a_batch_gives_what_its_rows_give_alone():
    model = tiny.model()
    together = model(**tiny.batch(*tiny.mixed_chats())).logits
    for row, chat in zip(together, tiny.mixed_chats()):
        alone = model(**tiny.batch(chat)).logits[0]
        torch.testing.assert_close(row[-len(alone) :], alone, **CLOSE)


def test_rows_may_be_padded_on_the_right():
    model, inputs = tiny.model(), tiny.batch(*tiny.mixed_chats())
    ids, mask = torch.zeros_like(inputs["input_ids"]), torch.zeros_like(inputs["attention_mask"])
    for row, (source, there) in enumerate(zip(inputs["input_ids"], inputs["attention_mask"].bool())):
        ids[row, : there.sum()], mask[row, : there.sum()] = source[there], 1
    left = model(**inputs).logits[inputs["attention_mask"].bool()]
    right = model(**{**inputs, "input_ids": ids, "attention_mask": mask}).logits[mask.bool()]
    torch.testing.assert_close(left, right, **CLOSE)


def test_the_word_after_unused_slots_is_predicted_from_the_last_visual_token():
    model, inputs = tiny.agreeing_model(), tiny.batch(tiny.mixed_chats()[0])
    visual = model.get_video_features(**{k: v for k, v in inputs.items() if "video" in k or "qformer" in k})
    exact = tiny.processor().apply_chat_template(
        tiny.mixed_chats()[0], tokenize=True, add_generation_prompt=True, visual_tokens=visual.lengths
    )
    assert exact["input_ids"].shape[1] < inputs["input_ids"].shape[1], "the test needs unused slots"
    tight = model(**exact_text(exact), mm_encoder_outputs={"video": visual}).logits[0]
    loose = model(**inputs).logits[0]
    place = int((inputs["input_ids"][0] == tiny.VIDEO_ID).nonzero()[-1])
    place_tight = int((exact["input_ids"][0] == tiny.VIDEO_ID).nonzero()[-1])
    torch.testing.assert_close(loose[place], tight[place_tight], **CLOSE)


def exact_text(inputs):
    return {k: inputs[k] for k in ("input_ids", "attention_mask")}


def test_labels_give_the_loss_of_the_tight_prompt():
    model, inputs = tiny.model(), tiny.batch(*tiny.mixed_chats())
    labels = inputs["input_ids"].masked_fill(
        (inputs["input_ids"] == tiny.VIDEO_ID) | (inputs["attention_mask"] == 0), -100
    )
    logits = model(**inputs).logits
    shifted, expected = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    loss = torch.nn.functional.cross_entropy(shifted, expected)
    assert model(**inputs, labels=labels).loss.item() == pytest.approx(loss.item(), rel=1e-5)


def test_tokens_made_before_give_the_same_logits():
    model, inputs = tiny.model(), tiny.batch(*tiny.mixed_chats())
    visual = model.get_video_features(**{k: v for k, v in inputs.items() if "video" in k or "qformer" in k})
    again = model(**exact_text(inputs), mm_encoder_outputs={"video": visual}).logits
    torch.testing.assert_close(again, model(**inputs).logits, rtol=0, atol=0)


def test_text_alone_is_the_plain_language_model():
    model, inputs = tiny.model(), tiny.batch(tiny.mixed_chats()[2])
    assert set(inputs) == {"input_ids", "attention_mask"}
    states = model.model.language_model(**inputs).last_hidden_state
    torch.testing.assert_close(model(**inputs).logits, model.lm_head(states))


def test_the_last_logits_alone():
    model, inputs = tiny.model(), tiny.batch(*tiny.mixed_chats())
    whole = model(**inputs).logits
    torch.testing.assert_close(model(**inputs, logits_to_keep=2).logits, whole[:, -2:])


@pytest.mark.parametrize("tokens", [1, 3, 7])
def test_a_smaller_budget_fits_the_same_prompt(tokens):
    model, inputs = tiny.model(), tiny.batch(tiny.mixed_chats()[0])
    frames, seconds = model.model.encode_frames(inputs["pixel_values_videos"]), inputs["video_seconds"]
    question = inputs["qformer_input_ids"], inputs["qformer_attention_mask"]
    chosen = model.model.select([frames], [seconds], *question, budget=Budget(tokens, 2))
    patches = model.model.encode_patches(inputs["pixel_values_videos"])[chosen[0].frames]
    visual = model.model.reduce_to_budget(patches, chosen, *question, budget=Budget(tokens, 2))
    assert len(chosen[0]) <= 2
    assert visual.lengths == [min(tokens, 4 * len(chosen[0]))]
    assert model(**exact_text(inputs), mm_encoder_outputs={"video": visual}).logits.isfinite().all()


def test_wrong_placeholders_are_refused():
    model, inputs = tiny.model(), tiny.batch(tiny.mixed_chats()[0])
    short = {**inputs, "input_ids": inputs["input_ids"].clone()}
    place = (short["input_ids"][0] == tiny.VIDEO_ID).nonzero()[3]
    short["input_ids"][0, place] = 5
    with pytest.raises(
        ValueError, match=r"the prompt must have placeholders .* got \[3, 6\]: write them with"
    ):
        model(**short)
    with pytest.raises(ValueError, match=r"input_ids must be given with videos, got None: "):
        model(**{k: v for k, v in inputs.items() if k != "input_ids"}, inputs_embeds=torch.zeros(1, 3, 32))


def test_neighbouring_clips_keep_their_own_slots():
    row = torch.tensor([[False, True, True, True, True, True, False]])
    assert used_placeholders(row, [1, 2], slots=[2, 3]).tolist() == [
        [False, True, False, True, True, False, False]
    ]


def test_packing_there_and_back():
    keep = torch.tensor([[True, False, True, True], [False, False, True, True]])
    x = torch.arange(8.0).reshape(2, 4, 1)
    for left in (True, False):
        packing = Packing.of(keep, left=left)
        assert packing.mask.sum(1).tolist() == [3, 2]
        assert packing.positions[0].tolist() == [0, 1, 2]
        assert torch.equal(packing.unpack(packing.pack(x))[keep], x[keep])
    assert Packing.of(keep, left=True).pack(x)[1, :, 0].tolist() == [0.0, 6.0, 7.0]
