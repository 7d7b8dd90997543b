"""Drills: what is looked up follows from what was told, what is given costs nothing."""

import re
from itertools import islice

import numpy as np
import pytest

from bvllm.nano.busy_examples import busy_examples
from bvllm.nano.captions import IGNORE, CaptionEncoder
from bvllm.nano.drills import COMPARED, comparison_drills, lookup_drills, video_lookups
from bvllm.nano.language import caption_batches
from bvllm.synthetic.busy.evidence import where
from bvllm.synthetic.busy.timeline import BusyTimeline, Shown
from bvllm.synthetic.tokenizer import ASSISTANT, END

CELL = r"(?:(?:top|middle|bottom) (?:left|middle|right)|middle)"


@pytest.fixture(scope="module")
def encoder(world_tokenizer):
    return CaptionEncoder(world_tokenizer)


def read(encoder, ids):
    return encoder.tokenizer.decode(ids).strip()


def told(encoder, video):
    """What is told of every second: words and places."""
    found = {}
    for words, second, place in zip(video.frames, video.seconds, video.places, strict=True):
        clock = f"{int(second) // 60:02d}:{int(second) % 60:02d}"
        found.setdefault(clock, []).append((read(encoder, words), place))
    return found


def said(encoder, video):
    """(time, what is given, what is looked up), lookup by lookup; times that are looked up apart."""
    lookups, times, clock = [], [], ""
    given, found = [], []
    for token, label in zip([*video.ids, 0], [*video.labels, IGNORE], strict=True):
        if label == IGNORE and found:
            before, after = read(encoder, given).split(ASSISTANT)[-1].strip(" ,"), read(encoder, found)
            if re.fullmatch(r"\d\d:\d\d", after):
                times.append((before, after))
                clock = after
            else:
                if m := re.match(r"(\d\d:\d\d) (.*)", before):
                    clock, before = m.groups()
                lookups.append((clock, before, after))
            given, found = [], []
        (given if label == IGNORE else found).append(token)
    return lookups, times


def test_what_is_looked_up_was_told(busy_pool, encoder):
    kinds = set()
    for video in islice(lookup_drills(busy_pool, encoder, 1), 30):
        shown = told(encoder, video)
        lookups, times = said(encoder, video)
        for label, clock in times:
            assert any(f" {label} " in words for words, _ in shown[clock])
            kinds.add("time")
        for clock, given, found in lookups:
            there = shown[clock]
            if m := re.fullmatch(r"(\d+) (\d+)", found):
                places = [place for words, place in there if given.removeprefix("sign ") in words]
                near = [abs(10 + 16 * (x + 0.5) - int(m[1])) + abs(10 + 16 * (y + 0.5) - int(m[2]))
                        for x, y, _ in places]  # fmt: skip
                assert min(near) < 1.1
                kinds.add("numbers")
            elif m := re.fullmatch(r"(\w+) things:?", given):
                alike = [words for words, _ in there if f" {m[1]} " in words and " sign " not in words]
                listed, _, count = found.partition(" = ")
                assert int(count) == len(alike) == len(listed.split(", "))
                kinds.add("list")
            elif found == "nothing":
                assert not any(f" {given} " in f" {words} " for words, _ in there)
                kinds.add("nothing")
            elif re.fullmatch(CELL, found):
                fit = [
                    w for w, _ in there if set(given.split()) <= set(w.split()) and w.endswith(f" {found}")
                ]
                assert fit, (given, found, there)
                kinds.add("part")
            else:
                assert any(set(found.split()) <= set(w.split()) and w.endswith(given) for w, _ in there)
                kinds.add("name")
    assert kinds == {"time", "numbers", "list", "part", "name", "nothing"}


def test_a_lookup_is_said_once(busy_pool, encoder):
    for video in islice(lookup_drills(busy_pool, encoder, 2), 20):
        lookups, _ = said(encoder, video)
        alone = [one for one in lookups if not re.fullmatch(r"\d+ \d+", one[2])]  # a mover's way comes again
        assert len(set(alone)) == len(alone)


def test_lookups_about_a_video_are_true_of_the_scene_that_stands_there(busy_pool):
    kinds, rng = set(), np.random.default_rng(4)
    timelines = {id(e.timeline): e.timeline for e in islice(busy_examples(busy_pool, (8, 40), 5), 40)}
    for timeline in timelines.values():
        scene, age = None, 0
        for given, found in video_lookups(timeline, rng):
            clock = re.match(r"(\d\d):(\d\d)", found) or re.match(r"(\d\d):(\d\d)", given)
            if clock:
                shown = timeline.at(60 * int(clock[1]) + int(clock[2]))
                scene, age = shown.scene, 60 * int(clock[1]) + int(clock[2]) - shown.start
                if ":" in found:  # by its sign: no other scene of the video may have it
                    assert [given in other.scene.labels for other in timeline.shown].count(True) == 1
                    kinds.add("time")
            if re.fullmatch(r"\d+ \d+", found):
                name = given.split(maxsplit=1)[1] if clock else given
                x, y = (int(one) for one in found.split())
                near = [scene.place(t, age) for t in scene.things if t.name == name]
                assert min(abs(10 + 16 * a - x) + abs(10 + 16 * b - y) for a, b in near) < 1.1
                kinds.add("place")
            elif re.fullmatch(CELL, found):
                fit = [t for t in scene.seen(0) if where(t) == found]
                assert any(set(given.split()) <= set(t.words.split()) for t in fit)
                kinds.add("part")
            elif found == "nothing":
                assert given not in {t.name for t in scene.seen(0)}
                kinds.add("nothing")
    assert kinds == {"time", "place", "part", "nothing"}


def test_no_lookups_about_scenes_that_cannot_be_told_apart(busy_pool):
    scene = next(s for s in busy_pool.scenes if s.labels)
    alone = BusyTimeline(float(scene.seconds), (Shown(scene, 0.0, float(scene.seconds)),), ())
    twice = BusyTimeline(
        2.0 * scene.seconds,
        (*alone.shown, Shown(scene, float(scene.seconds), 2.0 * scene.seconds)),
        (),
    )
    cut = BusyTimeline(1.0, (Shown(scene, 0.0, 1.0),), ())
    rng = np.random.default_rng(1)
    assert video_lookups(alone, rng)
    assert not video_lookups(twice, rng)
    assert not video_lookups(cut, rng)


def test_a_comparison_is_given_its_evidence_and_says_the_answer(busy_pool, encoder):
    seen = set()
    for video in islice(comparison_drills(busy_pool, encoder, 1), 60):
        assert not video.frames
        last = max(k for k, label in enumerate(video.labels) if label == IGNORE) + 1
        assert read(encoder, video.ids[:last]).endswith("=")
        within = [read(encoder, [label]) for label in video.labels[:last] if label != IGNORE]
        assert set(within) <= {"left", "right", "above", "below"}
        assert video.labels[last:] == video.ids[last:]
        assert read(encoder, video.ids[-1:]) == END
        assert len(video.ids) - last <= 6
        seen.add(re.sub(r"\W.*", "", read(encoder, video.ids[last:])))
    assert len(seen) > 10
    assert len(COMPARED) == 7


def test_told_batches_hold_drills_only_where_there_are_busy_scenes(busy_pool, world_tokenizer):
    def without_frames(pool):
        batch = next(caption_batches(world_tokenizer, 48, 3, pool))
        return sum(int((~part.captioned.any(dim=1)).sum()) for part in batch)

    assert without_frames(None) == 0
    assert 4 <= without_frames(busy_pool) <= 24
