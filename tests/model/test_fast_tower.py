"""The fast tower says what the stock one says, family by family."""

import copy

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import (
    Blip2VisionConfig,
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    InstructBlipVisionConfig,
    SiglipVisionConfig,
)

from bvllm.model import fast_layers
from bvllm.model import fast_tower as fast_tower_module
from bvllm.model.fast_layers import POST_OPS, PackedLinear, can_pack
from bvllm.model.fast_tower import (
    LEAST_WIDTH_FOR_BFLOAT16,
    FastTower,
    attention,
    fast_tower,
    has_bfloat16,
    in_steps,
    upload,
)
from bvllm.model.vision_tower import CLIP_MEAN, CLIP_STD, frame_features, patch_features, tower_of

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 24,
    "patch_size": 8,
}
TALL = {**SIZES, "intermediate_size": 48, "initializer_range": 0.2}
CONFIGS = {
    "clip": CLIPVisionConfig(**TALL),  # quick_gelu
    "clip_gelu": CLIPVisionConfig(**TALL, hidden_act="gelu"),
    "siglip": SiglipVisionConfig(**TALL),
    "dinov2": Dinov2Config(**SIZES, mlp_ratio=2, layerscale_value=0.7, initializer_range=0.2),
    "dinov2_registers": Dinov2WithRegistersConfig(**SIZES, mlp_ratio=2, qkv_bias=False, layerscale_value=0.7),
    "instructblip": InstructBlipVisionConfig(**TALL),
    "blip_2": Blip2VisionConfig(**TALL, qkv_bias=False),
    # As SigLIP's 384 pixels in patches of 14: what is left over is no patch.
    "uneven": SiglipVisionConfig(**{**TALL, "patch_size": 7}),
}


def stock(config):
    torch.manual_seed(3)
    tower = tower_of(config).model._from_config(config).eval()
    for name, weight in tower.named_parameters():  # norms, biases and scales that begin as 1 or 0 hide errors
        if weight.ndim == 1 or "position" in name or "token" in name:
            torch.nn.init.normal_(weight, mean=float(weight.detach().mean()), std=0.2)
    return tower


def fast(tower, dtype=torch.float32):
    made = fast_tower(tower, CLIP_MEAN, CLIP_STD, dtype=dtype)
    assert made is not None
    return made


def frames(count, side=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator).byte()


def normalised(pixels):
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (CLIP_MEAN, CLIP_STD))
    return (pixels.float() / 255 - mean) / std


def error(got, wanted):
    return float((got - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain"])
@pytest.mark.parametrize("name", CONFIGS)
def test_in_float32_it_is_the_stock_tower(name, packed, monkeypatch):
    if not packed:
        monkeypatch.setattr("bvllm.model.fast_tower.can_pack", lambda dtype: False)
    tower, pixels = stock(CONFIGS[name]), frames(5)
    quick = fast(tower)
    with torch.no_grad():
        assert error(quick.frame_features(pixels), frame_features(tower, normalised(pixels))) < 3e-6
        for layer in (0, 2, -2, -1, "final"):
            wanted = patch_features(tower, normalised(pixels), layer)
            assert error(quick.patch_features(pixels, layer), wanted) < 3e-6


@pytest.mark.parametrize("name", CONFIGS)
def test_in_bfloat16_it_is_no_further_from_float32_than_the_stock_tower(name):
    tower, pixels = stock(CONFIGS[name]), frames(48)
    rough, quick = copy.deepcopy(tower).bfloat16(), fast(tower, torch.bfloat16)
    with torch.no_grad():
        exact = frame_features(tower, normalised(pixels))
        ours, theirs = (
            quick.frame_features(pixels),
            frame_features(rough, normalised(pixels).bfloat16()).float(),
        )
        assert 0 < error(ours, exact) <= 1.05 * error(theirs, exact)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_a_frame_gives_does_not_depend_on_its_company_or_on_threads(dtype):
    quick, pixels = fast(stock(CONFIGS["clip"]), dtype), frames(21)
    assert quick.step == 16
    whole, patches = quick.frame_features(pixels), quick.patch_features(pixels, -2)
    for start, stop in ((0, 1), (20, 21), (3, 19)):
        assert torch.equal(quick.frame_features(pixels[start:stop]), whole[start:stop])
        assert torch.equal(quick.patch_features(pixels[start:stop], -2), patches[start:stop])
    torch.set_num_threads(2)  # the app runs kernels on one, but nothing here should lean on that
    try:
        assert torch.equal(quick.frame_features(pixels), whole)
        assert torch.equal(quick.patch_features(pixels, -2), patches)
    finally:
        torch.set_num_threads(1)


def test_it_is_a_copy_and_builds_no_graph():
    tower, pixels = stock(CONFIGS["clip"]), frames(2)
    quick = fast(tower)
    before = quick.frame_features(pixels)
    torch.nn.init.zeros_(tower.post_layernorm.weight)
    assert torch.equal(quick.frame_features(pixels), before)
    assert before.dtype == torch.float32
    assert not before.requires_grad


def test_the_step_divides_a_chunk_of_16_and_large_frames_go_one_by_one():
    small = fast(stock(CONFIGS["clip"]))
    large = fast(stock(CLIPVisionConfig(**{**TALL, "num_hidden_layers": 1, "image_size": 272})))
    assert (small.step, large.step) == (16, 1)


def test_the_precision_where_nobody_asks():
    narrow = fast_tower(stock(CONFIGS["clip"]), CLIP_MEAN, CLIP_STD)
    wide = {**TALL, "hidden_size": LEAST_WIDTH_FOR_BFLOAT16, "num_hidden_layers": 1}
    broad = fast_tower(stock(CLIPVisionConfig(**wide)), CLIP_MEAN, CLIP_STD)
    assert isinstance(narrow, FastTower)
    assert isinstance(broad, FastTower)
    assert narrow.dtype == torch.float32
    assert broad.dtype == (torch.bfloat16 if has_bfloat16() else torch.float32)


def test_other_towers_are_left_to_the_stock_path():
    gated = Dinov2Config(**SIZES, use_swiglu_ffn=True)
    odd = CLIPVisionConfig(**TALL, hidden_act="relu")
    headless = SiglipVisionConfig(**TALL, vision_use_head=False)
    for config in (gated, odd, headless):
        assert fast_tower(stock(config), CLIP_MEAN, CLIP_STD) is None
    assert fast_tower(stock(CONFIGS["clip"]).to("meta"), CLIP_MEAN, CLIP_STD) is None


@pytest.mark.parametrize("name", CONFIGS)
def test_on_another_device_nothing_stays_behind(name, monkeypatch):
    """Tensors without numbers stand in for a GPU: what mixes devices fails there as well."""
    monkeypatch.setitem(fast_tower_module.TYPES, "meta", (torch.float16,))
    tower = stock(CONFIGS[name]).half().to("meta")
    quick = fast_tower(tower, CLIP_MEAN, CLIP_STD)
    assert quick is not None
    assert (quick.dtype, quick.step) == (torch.float16, 32)
    features, patches = quick.frame_features(frames(40)), quick.patch_features(frames(3), -2)
    assert features.is_meta
    assert patches.is_meta
    assert (features.shape, patches.shape) == ((40, 32), (3, 9, 32))


def test_frames_go_to_a_gpu_through_page_locked_memory():
    class Frames:
        device, did = torch.device("cpu"), ()

        def pin_memory(self):
            self.did += ("pinned",)
            return self

        def to(self, device, *, non_blocking):
            self.did += (device.type, non_blocking)
            return self

    assert upload(Frames(), torch.device("cuda")).did == ("pinned", "cuda", True)
    assert upload(Frames(), torch.device("cpu")).did == ("cpu", True)
    pixels = frames(1)
    assert upload(pixels, torch.device("cpu")) is pixels


@pytest.mark.parametrize("name", CONFIGS)
def test_the_compiled_first_pass_is_one_graph_and_gives_the_same(name, monkeypatch):
    monkeypatch.setattr("bvllm.model.fast_tower.can_pack", lambda dtype: False)  # as on a GPU
    quick, pixels = fast(stock(CONFIGS[name])), frames(5)
    before = quick.frame_features(pixels)
    assert not quick.compiled
    quick.compile(backend="eager")  # inductor takes too long here; whether there is one graph shows as well
    assert quick.compiled
    torch.testing.assert_close(quick.frame_features(pixels), before)


@pytest.mark.parametrize(
    "wrong, says",
    [
        (
            lambda tower: fast(tower, torch.float16),
            "dtype must be float32 or bfloat16 on cpu, got torch.float16",
        ),
        (lambda tower: fast(tower).frame_features(frames(2, 32)), "frames must be one or more of uint8"),
        (lambda tower: fast(tower).frame_features(frames(0)), "frames must be one or more of uint8"),
        (lambda tower: fast(tower).patch_features(frames(1).float(), -1), "do not normalise"),
    ],
)
def test_messages(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong(stock(CONFIGS["clip"]))


@pytest.mark.parametrize("activation", POST_OPS)
def test_packed_and_plain_layers_agree(activation):
    x, residual = torch.randn(2, 5, 16), torch.randn(2, 5, 24)
    weight, bias = torch.randn(24, 16), torch.randn(24)
    packed, plain = (PackedLinear(weight, bias, rows=10, packed=p) for p in (can_pack(torch.float32), False))
    torch.testing.assert_close(packed(x, activation), plain(x, activation))
    before = residual.clone()
    torch.testing.assert_close(packed.add_to(residual, x), plain.add_to(residual, x))
    assert torch.equal(residual, before)


def test_operators_that_are_missing_or_wrong_are_not_used(monkeypatch):
    def probe(layer):
        monkeypatch.setattr(fast_layers, "PackedLinear", layer)
        can_pack.cache_clear()
        try:
            return can_pack(torch.float32)
        finally:
            can_pack.cache_clear()

    class Missing:
        def __init__(self, *_, **__):
            raise AttributeError("no such operator")

    class Wrong(PackedLinear):
        def add_to(self, residual, x):
            return residual - self(x)

    assert not probe(Missing)
    assert not probe(Wrong)


def relative_error(found, wanted):
    return float((found.double() - wanted).norm() / wanted.norm())


def drawn(sharpness, tokens=37):
    """q, k, v as a tower hands them over: views of one product."""
    generator = torch.Generator().manual_seed(tokens)
    qkv = torch.randn(2, tokens, 3, 5, 16, generator=generator)
    qkv[:, :, :2] *= sharpness
    return qkv.bfloat16().permute(2, 0, 3, 1, 4).unbind()


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 3.0])
def test_attention_in_steps_is_as_near_to_exact_numbers_as_the_fused_kernel(sharpness):
    q, k, v = drawn(sharpness)
    exact = scaled_dot_product_attention(q.double(), k.double(), v.double()).transpose(1, 2)
    fused = scaled_dot_product_attention(q, k, v).transpose(1, 2)
    found = in_steps(q, k, v)
    assert (found.shape, found.dtype) == (exact.shape, torch.bfloat16)
    assert 0 < relative_error(found, exact) <= 1.35 * relative_error(fused, exact)


def test_how_many_heads_go_together_changes_nothing(monkeypatch):
    whole = in_steps(*drawn(1.0))
    monkeypatch.setattr(
        fast_tower_module, "SCORES_AT_A_TIME", 3 * 37**2
    )  # ten heads: three, three, three, one
    assert torch.equal(in_steps(*drawn(1.0)), whole)
    monkeypatch.setattr(fast_tower_module, "SCORES_AT_A_TIME", 1)
    assert torch.equal(in_steps(*drawn(1.0)), whole)


@pytest.mark.parametrize("amx", [True, False])
def test_where_the_fused_kernel_is_fast_it_is_used(amx, monkeypatch):
    monkeypatch.setattr(fast_tower_module, "has_amx", lambda: amx)
    q, k, v = drawn(1.0)
    fused = scaled_dot_product_attention(q, k, v).transpose(1, 2)
    assert torch.equal(attention(q, k, v), fused if amx else in_steps(q, k, v))
    exact = scaled_dot_product_attention(q.float(), k.float(), v.float()).transpose(1, 2)
    assert torch.equal(attention(q.float(), k.float(), v.float()), exact)
