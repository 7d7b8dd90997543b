"""Measure G8 and G9: token kernels against the published ways, on one thread.

The peers are written from the papers: ToMe (arXiv 2210.09461), DivPrune (arXiv 2503.02175), and the released
way of B-VLLM (arXiv 2412.09919) to choose frames: clone and normalise every token, then a dense product.
"""

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.speed.compare import Race, against
from bvllm.primitives.matching import farthest_first
from bvllm.primitives.merging import merge_bipartite
from bvllm.stages.merge_frames import SimilarFrameMerging
from bvllm.stages.pipeline import mixed
from bvllm.stages.select_frames import select


def tome_step(x: Tensor, size: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """One step as published, (B, N, C) and (B, N, 1): the rows that stay, then the odd rows."""
    metric = x / x.norm(dim=-1, keepdim=True)
    scores = metric[:, ::2] @ metric[:, 1::2].transpose(-1, -2)
    best, found = scores.max(dim=-1)
    order = best.argsort(dim=-1, descending=True)[..., None]
    joins, stays = order[:, :r], order[:, r:]
    goal = found[..., None].gather(1, joins)

    def merge(values: Tensor) -> Tensor:
        channels = values.shape[-1]
        even, odd = values[:, ::2], values[:, 1::2]
        kept, moved = (even.gather(1, i.expand(-1, -1, channels)) for i in (stays, joins))
        return torch.cat([kept, odd.scatter_reduce(1, goal.expand(-1, -1, channels), moved, reduce="sum")], 1)

    merged, total = merge(x * size), merge(size)
    return merged / total, total


def merging(rounds: int, frames: int, patches: int, channels: int) -> Race:
    """Half of each frame's tokens merge into the other half (G9)."""
    x, size = torch.randn(frames, patches, channels), torch.ones(frames, patches, 1)
    pairs = patches // 2

    def ours() -> list[Tensor]:
        return [merge_bipartite(frame, ones[:, 0], pairs).features for frame, ones in zip(x, size)]

    published = tome_step(x, size, pairs)[0]
    same = all(_same_rows(a, b) for a, b in zip(published, ours()))
    return {**against(lambda: tome_step(x, size, pairs), ours, rounds), "bit_identical": same}


def row_selection(rounds: int = 3, rows: int = 23328, channels: int = 1152, keep: int = 1297) -> Race:
    """A few of many tokens by their index, against a mask spread over all channels (G9)."""
    x = torch.randn(rows, channels)
    index = torch.randperm(rows)[:keep].sort().values
    mask = torch.zeros(rows, dtype=torch.bool)
    mask[index] = True

    def peer() -> Tensor:
        return x.masked_select(mask[:, None].expand(-1, channels)).view(keep, channels)

    def ours() -> Tensor:
        return x.index_select(0, index)

    return {**against(peer, ours, rounds), "bit_identical": torch.equal(peer(), ours())}


def divprune(x: Tensor, keep: int) -> list[int]:
    """As published: all pairs, and at every choice the minimum over all rows chosen so far, anew."""
    unit = x / x.norm(dim=-1, keepdim=True)
    distance = 1 - unit @ unit.T
    chosen = [int(distance.topk(2, dim=0, largest=False).values[1].argmax())]
    while len(chosen) < keep:
        nearest = distance[torch.tensor(chosen)].min(dim=0).values
        nearest[chosen] = -torch.inf
        chosen.append(int(nearest.argmax()))
    return chosen


def diverse_selection(rounds: int = 1, rows: int = 6000, channels: int = 256, keep: int = 334) -> Race:
    """Max-min selection (G9): at 5.56 % of the tokens, as DivPrune keeps."""
    x = torch.randn(rows, channels)
    same = divprune(x, keep) == farthest_first(x, keep).tolist()
    return {**against(lambda: divprune(x, keep), lambda: farthest_first(x, keep), rounds), "same_picks": same}


def frame_selection(
    rounds: int = 3, frames: int = 450, patches: int = 256, channels: int = 1408, queries: int = 32
) -> Race:
    """Choose, merge duplicates and normalise what was chosen, against doing it on every token (G8)."""
    V = torch.randn(frames, patches, channels, dtype=torch.bfloat16)
    seconds = torch.arange(float(frames))
    logits = torch.randn(queries, frames)
    logits[: queries // 4] = logits[queries // 4 : queries // 2]  # some queries agree
    weight, bias = torch.ones(channels, dtype=torch.bfloat16), torch.zeros(channels, dtype=torch.bfloat16)

    def normalised(x: Tensor) -> Tensor:
        return functional.layer_norm(x, (channels,), weight, bias)

    def peer() -> Tensor:
        states = normalised(V.clone())
        S = functional.one_hot(logits.argmax(dim=-1), frames)
        S = S[(S.double() @ seconds.double()).argsort(stable=True)]
        chosen = torch.einsum("kt,tnc->knc", S.to(V.dtype), states)
        alike = functional.cosine_similarity(S[:, None].float(), S[None].float(), dim=-1) >= 0.75
        return chosen[~(alike.tril(-1).any(dim=-1))]

    def ours() -> Tensor:
        chosen = select(logits, seconds, merging=SimilarFrameMerging())
        return normalised(mixed(lambda frames: V.index_select(0, frames), chosen))

    return {**against(peer, ours, rounds), "same_tokens": torch.equal(peer(), ours())}


def _same_rows(a: Tensor, b: Tensor) -> bool:
    """Whether two matrices hold the same rows, bit for bit, in whatever order."""
    return sorted(row.tobytes() for row in a.numpy()) == sorted(row.tobytes() for row in b.numpy())
