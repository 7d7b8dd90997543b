"""What the authors' code does, said again in plain loops, beside what our methods make of the same numbers.

Each reference below states one released algorithm anew from what it computes, step by step and without any of
our primitives. Noise that some of them add to break ties is left out.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from bvllm.methods.merge_tokens.aim import AIM
from bvllm.methods.merge_tokens.dcode import DCoDeTokens
from bvllm.methods.merge_tokens.dycoke import DyCoke
from bvllm.methods.merge_tokens.evs import EVS
from bvllm.methods.merge_tokens.fastvid import FastVID
from bvllm.methods.merge_tokens.free_video import FreeVideoCrop
from bvllm.methods.merge_tokens.holitom import HoliTom
from bvllm.methods.merge_tokens.mustdrop import MustDrop
from bvllm.methods.merge_tokens.prunevid import PruneVid
from bvllm.methods.merge_tokens.slow_fast import SlowFast
from bvllm.methods.merge_tokens.stc import STCPruner
from bvllm.methods.merge_tokens.tome import ToMe
from bvllm.methods.merge_tokens.ts_llava import TSLLaVA
from bvllm.methods.merge_tokens.vidcom2 import VidCom2
from bvllm.methods.merge_tokens.visionzip import VisionZip
from bvllm.methods.merge_tokens.vispruner import VisPruner
from bvllm.methods.sample_tokens.divprune import DivPrune
from bvllm.methods.sample_tokens.dynamic import DynamicPool
from bvllm.methods.select_frames.dcode import DCoDeFrames
from bvllm.methods.select_frames.free_video import FreeVideoFrames
from bvllm.stages.allocate import QuoTAShare
from bvllm.stages.method import decide
from bvllm.types import Clip, FrameSelection, Signals, Tokens


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def video(frames, side=6, channels=12, seed=0, moves=0.5):
    """A scene of which places change little or much, and a second one from the middle on."""
    scenes = noise(2, side * side, channels, seed=seed)
    shake = moves * torch.rand(side * side, 1, generator=torch.Generator().manual_seed(seed + 1))
    each = scenes[(torch.arange(frames) >= frames // 2).long()]
    return each + shake * noise(frames, side * side, channels, seed=seed + 2)


def tokens_of(x):
    return Tokens.of(x, torch.arange(float(len(x))))


def left(method, x, keep, **signals):
    """The tokens that a method leaves, in the order of a clip."""
    tokens = tokens_of(x)
    return tokens.reduce(decide(method, tokens, keep, Signals(**signals))).features


def same(ours, theirs):
    """The same vectors, in whatever order."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    apart = torch.cdist(ours.double(), theirs.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert apart.min(dim=1).values.max() < 1e-4
    assert apart.min(dim=0).values.max() < 1e-4


def peaks(x, count, neighbours):
    """Density peaks: the rows of the highest density x distance, and the distances."""
    apart = torch.cdist(x.double(), x.double()) / math.sqrt(x.shape[1])
    near = apart.topk(neighbours, largest=False).values
    density = (-(near**2).mean(dim=1)).exp()
    far = [min([float(apart[i, j]) for j in range(len(x)) if density[j] > density[i]] + [float(apart.max())])
           for i in range(len(x))]  # fmt: skip
    return (torch.tensor(far, dtype=torch.float64) * density).topk(count).indices, apart


# ---- methods that decide about one picture


def visionzip(x, keys, attention, dominant, contextual):
    top = attention.topk(dominant).indices.tolist()
    rest = [i for i in range(len(x)) if i not in top]
    centres = rest[:: max(1, len(rest) // contextual)][:contextual]
    groups = {c: [] for c in centres}
    for i in rest:
        if i not in centres:
            alike = functional.cosine_similarity(keys[i][None], keys[centres], dim=1)
            groups[centres[int(alike.argmax())]].append(i)
    made = [x[c] + (x[group].mean(dim=0) if group else 0) for c, group in groups.items()]
    return torch.stack([*x[top], *made])


@pytest.mark.parametrize("keep", [16, 21])
def test_visionzip(keep):
    x, keys, attention = noise(1, 64, 12), noise(64, 8, seed=1), torch.rand(64)
    contextual = round(keep * 10 / 64)
    found = left(VisionZip(released=True), x, keep, attention=attention, keys=keys)
    same(found, visionzip(x[0], keys, attention, keep - contextual, contextual))


def vispruner(x, attention, keep):
    order = attention.argsort(descending=True).tolist()
    important, rest = order[: keep // 2], order[keep // 2 :]
    rows = functional.normalize(x.double(), dim=1)
    while (gone := min(8, len(rest) - (keep - keep // 2))) > 0:
        even, odd = rest[::2], rest[1::2]
        alike = {i: float((rows[odd] @ rows[i]).max()) for i in even}
        rest = sorted(even, key=alike.__getitem__, reverse=True)[gone:] + odd
    return sorted(important + rest)


@pytest.mark.parametrize("patches, keep", [(64, 16), (49, 13)])
def test_vispruner(patches, keep):
    x, attention = noise(1, patches, 12), torch.rand(patches)
    plan = decide(VisPruner(), tokens_of(x), keep, Signals(attention=attention))
    assert plan.anchor.tolist() == vispruner(x[0], attention, keep)


def aim(x, rounds):
    for _ in range(rounds):
        rows = functional.normalize(x.double(), dim=1)
        even, odd = list(range(0, len(x), 2)), list(range(1, len(x), 2))
        alike = rows[even] @ rows[odd].T
        order = alike.amax(dim=1).argsort(descending=True).tolist()
        merging, staying = order[: len(x) // 2], order[len(x) // 2 :]
        goal = alike.argmax(dim=1).tolist()
        groups = [[odd[j], *(even[i] for i in merging if goal[i] == j)] for j in range(len(odd))]
        x = torch.stack([*x[[even[i] for i in staying]], *(x[group].mean(dim=0) for group in groups)])
    return x


@pytest.mark.parametrize("patches, keep", [(64, 16), (49, 13), (169, 43)])
def test_aim(patches, keep):
    x = noise(1, patches, 12)
    same(left(AIM(released=True), x, keep), aim(x[0], 2))


def dcode_tokens(x, keep, threshold):
    x = x[x.norm(dim=1).argsort(descending=True)[:keep]].clone()
    alike = functional.cosine_similarity(x[:, None], x[None], dim=-1) >= threshold
    stays = [True] * keep
    for i in range(keep):
        group = alike[i].nonzero()[:, 0].tolist()
        if stays[i] and len(group) > 1:
            x[i] = x[group].mean(dim=0)
            for j in group[1:]:
                stays[j] = False
    return x[torch.tensor(stays)]


@pytest.mark.parametrize("threshold", [0.8, 0.4])
def test_dcode_tokens(threshold):
    x = noise(1, 8, 6)[:, torch.arange(64) % 8] + 0.5 * noise(1, 64, 6, seed=1)
    found = left(DCoDeTokens(released=True, threshold=threshold), x, 40)
    assert len(found) < 36
    same(found, dcode_tokens(x[0], 40, threshold))


def dcode_frames(x, keep, share):
    rows = x / x.norm(dim=1, keepdim=True)
    chosen = np.linspace(0, len(x) - 1, num=int(keep * share), dtype=int).tolist()
    while len(chosen) < keep:
        mean = (rows @ rows[chosen].T).mean(dim=1)
        mean[chosen] = torch.inf
        chosen.append(int(mean.argmin()))
    return sorted(chosen)


@pytest.mark.parametrize("frames, keep", [(50, 15), (46, 40), (31, 27), (51, 23)])
def test_dcode_frames(frames, keep):
    x = noise(frames, 12)
    for share in (0.85, 1.0):
        plan = DCoDeFrames(even=share).assign(Clip(x, torch.arange(float(frames))), keep, Signals())
        assert plan.anchor.tolist() == dcode_frames(x, keep, share)


def mustdrop(x, side, threshold):
    made, alone = [], set(range(side * side))
    for row in range(0, side, 3):
        for column in range(0, side, 3):
            window = [(row + i) * side + column + j for i in range(3) for j in range(3)]
            alike = functional.cosine_similarity(x[window][:, None], x[window][None], dim=-1)
            if (alike.sum() - 9) / 72 >= threshold:
                made.append(x[window].mean(dim=0))
                alone -= set(window)
    return torch.stack([*made, *x[sorted(alone)]])


def test_mustdrop():
    x = noise(1, 81, 12)
    rows, columns = torch.arange(81) // 9 // 3, torch.arange(81) % 9 // 3
    x += noise(9, 12, seed=1)[rows * 3 + columns] * (1 + columns[:, None])
    found = left(MustDrop(threshold=0.8), x, 81)
    assert 20 < len(found) < 70
    same(found, mustdrop(x[0], 9, 0.8))


def free_video(x, question, rows, columns, ratio):
    """The pairs of neighbours inside the box, numbered as the authors' code numbers them."""
    pooled = functional.max_pool1d(x.T[None], 2)[0].T
    alike = functional.cosine_similarity(question[None], pooled, dim=1)
    rows //= 2  # their view of pairs that lie (rows, columns / 2)
    top = alike.topk(int(rows * columns * ratio)).indices
    high, wide = round(rows * math.sqrt(ratio)), round(columns * math.sqrt(ratio))
    y, x = int((top // columns).float().mean()) - high // 2, int((top % columns).float().mean()) - wide // 2
    y, x = min(max(y, 0), rows - high), min(max(x, 0), columns - wide)
    return {(y + i) * columns + x + j for i in range(high) for j in range(wide)}


@pytest.mark.parametrize("seed", range(3))
def test_free_video(seed):
    x, question = noise(1, 576, 12, seed=seed), noise(12, seed=seed + 9)
    plan = decide(FreeVideoCrop(released=True), tokens_of(x), 231, Signals(question=question[None]))
    assert {int(k) // 2 for k in plan.input} == free_video(x[0], question, 24, 24, 0.8)
    assert torch.bincount(plan.output).tolist() == [2] * 231


def divprune(x, keep):
    apart = 1 - functional.cosine_similarity(x.double()[:, None], x.double()[None], dim=-1)
    chosen = [int(apart.topk(2, dim=0, largest=False).values[1].argmax())]
    while len(chosen) < keep:
        chosen.append(int(apart[chosen].amin(dim=0).argmax()))
    return sorted(chosen)


def test_divprune():
    x = noise(1, 64, 12)
    assert decide(DivPrune(), tokens_of(x), 20, Signals()).anchor.tolist() == divprune(x[0], 20)


# ---- methods that weigh frames against one another


def dycoke(x, share):
    frames, patches = x.shape[:2]
    kept = {k: list(range(patches)) for k in range(frames - frames % 2)}

    def least(a, b):
        alike = functional.cosine_similarity(x[a], x[b], dim=1)
        return alike.argsort()[: int(share * patches)].tolist()

    for k in range(0, frames - 1, 2):
        kept[k + 1] = least(k, k + 1)
    for k in range(0, frames - 4, 4):
        kept[k + 2] = least(k, k + 2)
    return sorted(frame * patches + place for frame, places in kept.items() for place in places)


@pytest.mark.parametrize("frames", [8, 13, 16])
def test_dycoke(frames):
    x = video(frames)
    wanted = dycoke(x, 0.3)
    plan = decide(DyCoke(released=True), tokens_of(x), len(wanted), Signals())
    assert plan.anchor.tolist() == wanted


def test_evs():
    x = video(7)
    apart = 1 - functional.cosine_similarity(x[1:], x[:-1], dim=-1)
    order = torch.cat([torch.full((36,), 255.0), apart.flatten()]).argsort(descending=True, stable=True)
    plan = decide(EVS(), tokens_of(x), 90, Signals())
    assert plan.anchor.tolist() == order[:90].sort().values.tolist()


def gaussians(x, centre):
    apart = ((x - centre) ** 2).sum(dim=-1)
    return sum((-apart / (2 * 2.0**k)).exp() for k in range(-3, 2))


def vidcom2(x, base):
    frames, patches, channels = x.shape
    steady = x.flatten(0, 1).var(dim=0, unbiased=False).topk(channels // 2, largest=False).indices
    rows = functional.normalize(x[..., steady], dim=-1)
    to_video = gaussians(rows, rows.mean(dim=(0, 1)))
    to_frame = gaussians(rows, rows.mean(dim=1, keepdim=True))
    p = (-to_video.mean(dim=1) / 0.01).softmax(dim=0)
    counts = ((base * (1 + p - p.mean())).clamp(max=1) * patches).round().long().clamp(min=1)
    score = to_video + to_frame
    return sorted(
        k * patches + place for k in range(frames) for place in score[k].argsort()[: int(counts[k])].tolist()
    )


@pytest.mark.parametrize("base", [0.25, 0.15])
def test_vidcom2(base):
    x = video(8) + 2
    wanted = vidcom2(x, base)
    plan = decide(VidCom2(ratio=base), tokens_of(x), len(wanted), Signals())
    assert plan.anchor.tolist() == wanted


def stc(chunks, keep):
    memory, kept = [], []
    for x in chunks:
        channels = x.shape[-1]
        steady = x.flatten(0, 1).var(dim=0, unbiased=False).topk(channels // 2, largest=False).indices
        chosen = x[..., steady]
        memory.append(chosen.mean(dim=(0, 1)))
        rows = functional.normalize(chosen, dim=-1)
        past = functional.normalize(torch.stack(memory).mean(dim=0), dim=-1)
        score = gaussians(rows, past) + gaussians(rows, rows.mean(dim=1, keepdim=True))
        kept.append([sorted(frame.argsort()[:keep].tolist()) for frame in score])
    return kept


def test_stc():
    chunks = [video(2, seed=k) + 1 for k in range(3)]
    state, found, method = None, [], STCPruner(released=True)
    for x in chunks:
        plan = decide(method, tokens_of(x), 22, Signals(state=state))
        found.append([(plan.anchor[plan.anchor // 36 == k] % 36).tolist() for k in range(2)])
        state = method.remember(tokens_of(x), state)
    assert found == stc(chunks, 11)


@pytest.mark.parametrize("released", [True, False])
def test_stc_reads_a_clip_as_a_stream_of_frames(released):
    clip, state, found, method = video(6) + 1, None, [], STCPruner(chunk=1, released=released)
    for frame in clip:
        alone = tokens_of(frame[None])
        found += [decide(method, alone, 11, Signals(state=state)).anchor.tolist()]
        state = method.remember(alone, state)
    anchors = decide(method, tokens_of(clip), 66, Signals()).anchor
    assert [(anchors[anchors // 36 == k] % 36).tolist() for k in range(6)] == found
    assert method.remember(tokens_of(clip), None).total.allclose(state.total)
    if released:
        assert found == [frame for [frame] in stc(clip[:, None], 11)]


def best_cut(still):
    """All ways to cut a clip, the one that saves most."""
    frames = len(still) + 1
    best = [(0, [])]
    for last in range(frames):
        found = []
        for first in range(last + 1):
            saves = (last - first) * int(still[first:last].all(dim=0).sum()) if first < last else 0
            found.append((best[first][0] + saves, [*best[first][1], (first, last)]))
        best.append(max(found, key=lambda one: one[0]))
    return best[-1]


def holitom(x, attention, ratio, tau, beta=0.6, neighbours=7):
    frames, patches = x.shape[:2]
    still = functional.cosine_similarity(x[1:], x[:-1], dim=-1) > tau
    saved, windows = best_cut(still)
    ratio = min(ratio / ((frames * patches - saved) / (frames * patches)), 1)
    made = []
    for first, last in windows:
        stays = still[first:last].all(dim=0) if last > first else torch.zeros(patches, dtype=torch.bool)
        for frame in range(first, last + 1):
            moving, seen = x[frame, ~stays], attention[frame, ~stays]
            made += moving[seen.topk(math.ceil(len(moving) * ratio)).indices]
        merged = x[first : last + 1, stays].mean(dim=0)
        count = round(len(merged) * ratio)
        if count:
            centres, apart = peaks(merged, count, min(neighbours, count))
            groups = {int(c): [] for c in centres.sort().values}
            for i in range(len(merged)):
                if i not in groups:
                    groups[min(groups, key=lambda c: float(apart[i, c]))].append(i)
            made += [beta * merged[c] + (1 - beta) * merged[g].mean(dim=0) if g else merged[c]
                     for c, g in groups.items()]  # fmt: skip
    return torch.stack(made)


@pytest.mark.parametrize("ratio, tau", [(0.1, 0.65), (0.2, 0.8), (0.25, 0.9)])
def test_holitom(ratio, tau):
    x, attention = video(9, moves=1.0), torch.rand(9, 36)
    wanted = holitom(x, attention, ratio, tau)
    found = left(HoliTom(released=True, tau=tau), x, len(wanted), attention=attention.flatten())
    same(found, wanted)


def fastvid(x, attention, described, ratio, cuts, tau, d=0.4, p=4, alpha=0.6, neighbours=4):
    frames, patches = x.shape[:2]
    alike = functional.cosine_similarity(described[:-1], described[1:], dim=1)
    ends = {frames - 1, *alike.topk(cuts - 1, largest=False).indices.tolist()}
    ends |= set((alike < tau).nonzero()[:, 0].tolist())
    each = int(patches * ratio)
    context = int(each * d)
    top = [attention[k].topk(each - context).indices.tolist() for k in range(frames)]
    rest = [[i for i in range(patches) if i not in top[k]] for k in range(frames)]
    made = [x[k, i] for k in range(frames) for i in top[k]]
    first = 0
    for last in sorted(ends):
        length = last + 1 - first
        on = [last - j for j in range(0, length, p)]
        pool = torch.cat([x[k, rest[k]] for k in range(first, last + 1)])
        for frame in on:
            own = x[frame, rest[frame]]
            anchors = own[peaks(own, context * length // len(on), neighbours)[0]]
            goal = functional.cosine_similarity(pool[:, None], anchors[None], dim=-1).argmax(dim=1)
            for j, anchor in enumerate(anchors):
                group = pool[goal == j]
                weight = max(1 / (len(group) + 1), alpha)
                made.append(weight * anchor + (1 - weight) * (group.mean(dim=0) if len(group) else 0))
        first = last + 1
    return torch.stack(made)


@pytest.mark.parametrize("ratio, cuts", [(0.2, 2), (0.3, 3)])
def test_fastvid(ratio, cuts):
    x, attention = video(11), torch.rand(11, 36)
    described = torch.einsum("tn,tnc->tc", attention, x)
    wanted = fastvid(x, attention, described, ratio, cuts, tau=0.5)
    method = FastVID(released=True, scenes=cuts, tau=0.5)
    same(left(method, x, 11 * int(36 * ratio), attention=attention.flatten()), wanted)


def runs_of(label):
    """Groups made runs in time, as the authors' own repair of them."""
    runs = []
    for k, group in enumerate(label):
        if runs and runs[-1][0] == group:
            runs[-1][1].append(k)
        else:
            runs.append((group, [k]))
    longest = {g: max(len(run) for group, run in runs if group == g) for g, _ in runs}
    label = list(label)
    for group, run in runs:
        if longest[group] == 1 or len(run) < longest[group]:
            for k in run:
                label[k] = None
    k = 0
    while k < len(label):
        if label[k] is not None:
            k += 1
            continue
        end = next((j for j in range(k, len(label)) if label[j] is not None), len(label))
        before = after = 0
        while k - before - 1 >= 0 and label[k - before - 1] == label[k - 1]:
            before += 1
        while end + after < len(label) and label[end + after] == label[end]:
            after += 1
        group = label[end] if after > before else label[k - 1] if before else 0
        label[k:end] = [group] * (end - k)
    return label


def prunevid(x, threshold=0.8):
    frames, patches = x.shape[:2]

    def clusters(rows, count):
        centres, apart = peaks(rows, count, min(7, len(rows)))
        label = apart[centres].argmin(dim=0)
        label[centres] = torch.arange(count)
        return label

    def merged(rows):
        if len(rows) <= 14:
            return list(rows)
        label = clusters(rows, len(rows) // 2)
        return [rows[label == j].mean(dim=0) for j in range(len(rows) // 2)]

    label = runs_of(clusters(x.mean(dim=1), frames // 4).tolist())
    made, first = [], 0
    while first < frames:
        last = first
        while last + 1 < frames and label[last + 1] == label[first]:
            last += 1
        scene, length = x[first : last + 1], last + 1 - first
        stays = torch.zeros(patches, dtype=torch.bool)
        if length > 1:
            alike = functional.cosine_similarity(scene[:, None], scene[None], dim=-1)
            stays = (alike.sum(dim=(0, 1)) - length) / (length * (length - 1)) > threshold
        made += merged(scene[:, stays].mean(dim=0))
        for frame in scene:
            made += merged(frame[~stays])
        first = last + 1
    return torch.stack(made)


@pytest.mark.parametrize("frames, moves", [(8, 0.6), (12, 1.2)])
def test_prunevid(frames, moves):
    x = video(frames, moves=moves)
    wanted = prunevid(x)
    assert len(wanted) < 0.7 * frames * 36
    same(left(PruneVid(released=True), x, frames * 36), wanted)


def test_ts_llava():
    x = video(50, side=4)
    tokens, keep = tokens_of(x), 96
    plan = decide(TSLLaVA(), tokens, keep, Signals())
    pooled = plan.weight < 1
    frames = torch.linspace(0, 49, steps=6).round().long().tolist()
    assert sorted({int(k) // 16 for k in plan.input[pooled]}) == frames
    sampled = keep - keep // 6
    assert plan.input[~pooled].tolist() == torch.linspace(0, 799, steps=sampled).round().long().tolist()


@pytest.mark.parametrize("frames, count", [(64, 16), (96, 24), (24, 16), (10, 10)])
def test_slow_fast(frames, count):
    x = video(frames, side=4)
    grid = x.view(frames, 4, 4, 12).permute(3, 0, 1, 2)
    pooled = functional.adaptive_avg_pool3d(grid[None], (count, 2, 2))[0]
    found = left(SlowFast(), x, count * 4)
    torch.testing.assert_close(found, pooled.flatten(1).T, atol=1e-5, rtol=0)


def tome(x, keep):
    """Rounds of the authors' matching: what found no partner comes first in the next round."""
    rows = [(row, 1.0) for row in x]
    while len(rows) > keep:
        even, odd, pairs = rows[::2], rows[1::2], min(len(rows) - keep, len(rows) // 2)
        alike = [[functional.cosine_similarity(a, b, dim=0).item() for b, _ in odd] for a, _ in even]
        order = sorted(range(len(even)), key=lambda k: -max(alike[k]))
        joined = [[other] for other in odd]
        for k in order[:pairs]:
            joined[alike[k].index(max(alike[k]))].append(even[k])
        sizes = [sum(n for _, n in some) for some in joined]
        means = [(sum(v * n for v, n in some) / size, size) for some, size in zip(joined, sizes, strict=True)]
        rows = [even[k] for k in order[pairs:]] + means
    return torch.stack([row for row, _ in rows])


@pytest.mark.parametrize("count, keep", [(49, 13), (5, 2), (33, 4), (64, 40), (51, 9)])
def test_tome(count, keep):
    x = noise(1, count, 8, seed=count)
    same(left(ToMe(released=True), x, keep), tome(x[0], keep))
    if (count, keep) in ((49, 13), (33, 4)):  # two rounds, the first of an odd number
        with pytest.raises(AssertionError):
            same(left(ToMe(), x, keep), tome(x[0], keep))


def test_aim_compares_keys_where_asked():
    """As the authors do with pictures: the plan of the keys, carried out on the tokens."""
    x, keys = noise(1, 36, 8), noise(1, 36, 4, seed=9)
    by_keys = decide(AIM(by="keys", released=True), tokens_of(x), 9, Signals(keys=keys[0]))
    of_keys = decide(AIM(released=True), tokens_of(keys), 9, Signals())
    assert torch.equal(by_keys.combine(x[0]), of_keys.combine(x[0]))
    with pytest.raises(ValueError, match='by must be "features" where no keys'):
        decide(AIM(by="keys"), tokens_of(x), 9, Signals())


@pytest.mark.parametrize("base", [0.25, 0.05])
@pytest.mark.parametrize("more", [-5, 0, 7])
def test_vidcom2_lands_as_vllm_does_where_released(base, more):
    """Frames are rounded by themselves; then the worst of what is kept goes, or the best of the rest."""
    x = video(8) + 2
    wanted = vidcom2(x, base)
    method = VidCom2(ratio=base, released=True)
    found = decide(method, tokens_of(x), len(wanted) + more, Signals()).anchor.tolist()
    assert len(found) == len(wanted) + more
    assert set(found) >= set(wanted) if more >= 0 else set(found) <= set(wanted)


@pytest.mark.parametrize("frames", [66, 67, 71])
def test_slow_fast_leaves_out_what_does_not_divide(frames):
    x = noise(frames, 4, 3)
    fours = x[: frames // 4 * 4].unflatten(0, (-1, 4)).mean(dim=1)
    same(left(SlowFast(released=True), x, 4 * (frames // 4)), fours.flatten(0, 1))


def test_slow_fast_leaves_nothing_out_where_few_are_left():
    """Nine frames make two fours and one more: with fewer than 16 left, bins overlap and all are seen."""
    plan = decide(SlowFast(released=True), tokens_of(noise(9, 4, 3)), 2, Signals())
    assert bool(plan.used.all())


def test_quota_cuts_counts_to_grids():
    scores = torch.tensor([0.9, 0.5, 0.3, 0.1])
    chosen = replace(FrameSelection.of(torch.arange(4), torch.arange(4.0)), scores=scores)
    share = scores.double().square() / scores.double().square().sum()
    counts = [int(n) for n in share * 60]
    grids = [max(a * b for a in range(30) for b in (a, a + 1) if a * b <= n) for n in counts]
    assert grids == [36, 12, 4, 0]
    assert QuoTAShare(released=True).allocate(chosen, 60, 100).tolist() == grids


@pytest.mark.parametrize("frames, keep", [(16, 8), (50, 8), (16, 23)])
def test_free_video_frames(frames, keep):
    """Evenly spaced ones from 0 on, cut to whole numbers; of equally relevant frames the last."""
    relevance = torch.arange(frames) // 2  # pairs that are alike
    found = decide_frames(FreeVideoFrames(), frames, min(keep, frames), relevance.float())
    even = np.linspace(0, frames, min(keep, frames) * 5 // 8 + 1).astype(int)[:-1].tolist()
    rest = [k for k in range(frames - 1, -1, -1) if k not in even][: min(keep, frames) - len(even)]
    assert found == sorted({*even, *rest})


def decide_frames(method, frames, keep, relevance):
    clip = Clip(torch.zeros(frames, 1), torch.arange(float(frames)))
    return sorted(method.assign(clip, keep, Signals(relevance=relevance)).anchor.tolist())


@pytest.mark.parametrize("frames, keep", [(1, 20), (5, 47), (7, 200), (3, 500)])
def test_dynamic_pools_all_frames_to_one_square(frames, keep):
    x = video(frames)
    side = math.isqrt(min(keep // frames, 36))
    grids = x.view(frames, 6, 6, -1).movedim(-1, 1)
    pooled = functional.adaptive_avg_pool2d(grids, side).movedim(1, -1).flatten(0, 2)
    same(left(DynamicPool(released=True), x, keep, grid=(6, 6)), pooled)
    assert len(left(DynamicPool(), x, keep, grid=(6, 6))) >= len(pooled)
