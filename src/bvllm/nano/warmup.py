"""Warm up nano's vision tower by contrast with text: the role of CLIP's pre-training in the paper."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel

from bvllm.model.text_encoder import TextEncoder
from bvllm.nano.busy_heads import BusyHeads, BusyTargets
from bvllm.nano.busy_pool import BusyPool
from bvllm.nano.frame_dataset import FrameDataset
from bvllm.nano.loop import Control, StageLoop
from bvllm.synthetic.sampling import describe
from bvllm.synthetic.vocabulary import COLOURS

RECOLOURED = 0.45  # share of frames that lose their colours: half turn grey, half get other colours


class PatchReader(nn.Module):
    """One learned query that reads a frame's patches, as the token sampler will.

    [CLS] alone would leave to chance what the patches of the last layer but one can tell; with a loss of
    their own they carry what a caption says.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 1, width) / width**0.5)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, patches: Tensor) -> Tensor:
        """(B, N, C) -> (B, C)."""
        query = self.query.expand(len(patches), -1, -1)
        return self.attention(query, patches, patches, need_weights=False)[0][:, 0]


def warm_up_tower(
    pool: FrameDataset,
    config: CLIPVisionConfig,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    epochs: float,
    batch: int = 192,
    lr: float = 2e-3,
    seed: int = 0,
    minutes: float = math.inf,
    busy: BusyPool | None = None,
    start: CLIPVisionModel | None = None,
    control: Control | None = None,
) -> tuple[CLIPVisionModel, TextEncoder]:
    """Train a CLIP tower so that [CLS], and the patches beside it, say what a frame of the pool shows.

    The loss is CLIP's, over the distinct captions of a batch. A share of the frames is recoloured, and
    their captions name no colour: a shape is known by its outline, not by the colours it met in training.

    Args:
        busy: scenes of many things, half of every batch; `BusyHeads` teach what they show. None for none.
        start: a tower that is trained already, to go on from; None starts from nothing.

    Returns:
        The tower in eval mode, and its text side, which B-VLLM has no use for but a search over videos has.
    """
    torch.manual_seed(seed)
    tower = _first_tower(config, start)
    captions = [describe(needle) for needle in pool.needles]
    text = TextEncoder(sorted({w for c in captions for w in c.split()}), config.hidden_size)
    reader = PatchReader(config.hidden_size, config.num_attention_heads)
    parameters = [*tower.parameters(), *text.parameters(), *reader.parameters()]
    crowded, targets = 0, None
    if busy is not None:
        heads, crowded = BusyHeads(config.hidden_size), batch // 2
        targets = BusyTargets.of(busy, config.image_size // config.patch_size)
        parameters += heads.parameters()
    batch -= crowded
    loop = StageLoop(
        "tower",
        parameters,
        steps=max(1, int(epochs * len(pool) / batch)),
        minutes=minutes,
        lr=lr,
        warmup=200,
        decay=0.02,
        seed=seed,
        control=control,
    )
    shuffling, generator = (torch.Generator().manual_seed(s) for s in (seed, loop.seed))
    order = torch.cat([torch.randperm(len(pool), generator=shuffling) for _ in range(math.ceil(epochs) + 1)])
    for _ in loop:
        rows = order[loop.step * batch : (loop.step + 1) * batch]
        mixing, recoloured = random_colours(len(rows), generator)
        pixels = normalise(augment(pool.pixels[rows], generator, mixing), mean, std)
        shown = zip(rows.tolist(), recoloured.tolist(), strict=True)
        names = [without_colour(captions[k]) if other else captions[k] for k, other in shown]
        distinct = sorted(set(names))
        target = torch.tensor([distinct.index(n) for n in names])
        if busy is not None:
            some = torch.randint(0, len(busy), (crowded,), generator=generator)
            plain = augment(busy.pixels[some], generator, torch.eye(3).expand(crowded, 3, 3), shift=0)
            pixels = torch.cat([pixels, normalise(plain, mean, std)])
        with torch.autocast("cpu", torch.bfloat16):  # 0.25 s for 0.48 s a step of one core, with AVX-512 bf16
            seen = tower(pixel_values=pixels, output_hidden_states=True)
        patches = seen.hidden_states[-2][:, 1:].float()
        read = reader(patches[:batch])
        said = text(distinct)
        frame_loss, right = _contrast(seen.pooler_output[:batch].float(), said, text.scale, target)
        patch_loss, patch_right = _contrast(read.float(), said, text.scale, target)
        loss = frame_loss + patch_loss
        loop.record(right=right, patches=patch_right)
        if targets is not None:
            more, shares = heads(patches[batch:], seen.pooler_output[batch:].float(), some, targets)
            loss = loss + more
            loop.record(**shares)
        loss.backward()
        loop.descend()
    return tower.eval().requires_grad_(False), text.eval().requires_grad_(False)


def _first_tower(config: CLIPVisionConfig, start: CLIPVisionModel | None) -> CLIPVisionModel:
    """With eager attention, which has the faster backward pass on a CPU."""
    tower = CLIPVisionModel._from_config(config, attn_implementation="eager").train()
    if start is not None:
        tower.load_state_dict(start.state_dict())
    return tower


def without_colour(caption: str) -> str:
    """The caption of a recoloured frame.

    Example:
        >>> without_colour("one red star top left")
        'one star top left'
    """
    return " ".join(word for word in caption.split() if word not in COLOURS)


def _contrast(frames: Tensor, said: Tensor, scale: Tensor, target: Tensor) -> tuple[Tensor, float]:
    """CLIP's loss between frames and distinct captions, and the share of frames that are right.

    Frames that show the same thing share a caption, and are not pushed apart.
    """
    logits = scale.exp().clamp(max=100) * F.normalize(frames, dim=-1) @ said.mT
    loss = (F.cross_entropy(logits, target) + _caption_to_frame(logits, target)) / 2
    return loss, (logits.argmax(-1) == target).float().mean().item()


def _caption_to_frame(logits: Tensor, target: Tensor) -> Tensor:
    """The other direction of CLIP's loss; every frame that shows a caption is right for it."""
    log_share = logits.log_softmax(dim=0).gather(1, target[:, None])[:, 0]
    count = torch.bincount(target, minlength=logits.shape[1])[target]
    return -(log_share / count).sum() / logits.shape[1]


def normalise(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 (n, 3, H, W) -> float, as the video processor does it."""
    return (pixels.float() / 255 - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)


def random_colours(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """How each of n frames mixes its channels, (n, 3, 3), and which of them are recoloured, (n,) bool.

    Recoloured is grey, or the channels trade places and some turn negative; the others keep their colours.
    """
    draw = torch.rand(n, generator=generator)
    grey, traded = draw < RECOLOURED / 2, (draw >= RECOLOURED / 2) & (draw < RECOLOURED)
    order = torch.rand(n, 3, generator=generator).argsort(dim=1)
    sign = torch.where(torch.rand(n, 1, 3, generator=generator) < 0.3, -1.0, 1.0)
    mixing = torch.eye(3).expand(n, 3, 3).clone()
    mixing[grey] = 1 / 3
    mixing[traded] = (F.one_hot(order, 3).float() * sign)[traded]
    return mixing, grey | traded


def augment(pixels: Tensor, generator: torch.Generator, mixing: Tensor, shift: int = 4) -> Tensor:
    """Light, contrast, noise and some pixels of shift, drawn anew for each frame.

    Args:
        pixels: (n, 3, H, W) uint8.
        mixing: (n, 3, 3) how a frame's channels mix, about middle grey.
        shift: pixels of shift at most, each way.

    Returns:
        (n, 3, H, W) float in 0..255.
    """
    n = len(pixels)
    draw = torch.rand(n, 6, generator=generator)
    x = torch.einsum("nij,njhw->nihw", mixing, pixels.float() - 128)
    x = x * (0.75 + 0.5 * draw[:, 0]).view(-1, 1, 1, 1) + 128 + (40 * draw[:, 1] - 20).view(-1, 1, 1, 1)
    x = x + torch.randn(x.shape, generator=generator) * (8 * draw[:, 2] ** 2).view(-1, 1, 1, 1)
    if shift:
        by = (draw[:, 3:5] * (2 * shift + 1)).long() - shift
        x = torch.stack(
            [torch.roll(frame, tuple(s.tolist()), dims=(1, 2)) for frame, s in zip(x, by, strict=True)]
        )
    return x.clamp(0, 255)
