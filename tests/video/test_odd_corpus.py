"""196 odd and broken files, each with what a careful reader should say about it.

The corpus is made by a script that lies beside this repository, not in it; without the script these tests are
skipped, and the smaller collection in the other files here stands alone.
"""

import importlib.util
import sys
from pathlib import Path

import pytest

from bvllm.video import Limits, SamplingPlan, VideoError, VideoInfo, VideoReport, read_video

SCRIPT = Path(__file__).parents[3] / "shared" / "tools" / "make_odd_videos.py"
MOST_CODES = 400  # the manifest names the frames up to here
FEWEST_PIXELS = (8, 16)  # smaller pictures carry no number
BAITS = ("a_ref_h264.mp4", "a_ref_h264.ts", "i_neighbour_secret.txt", "i_neighbour_video.mp4")


def load():
    if not SCRIPT.is_file():
        return None
    spec = importlib.util.spec_from_file_location("make_odd_videos", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


CORPUS = load()
CASES = {} if CORPUS is None else {writer[0]: writer for writer in CORPUS.WRITERS if not writer[4]}
# Too long to be read both ways, and last, so that the others have one number in both lists and are made once.
SLOW = ("10h", "1000fps", "elst_bomb")
NAMES = sorted(CASES, key=lambda name: any(word in name for word in SLOW))
BOTH_WAYS = [name for name in NAMES if not any(word in name for word in SLOW)]
# Seconds go into making 8K pictures, and into reading 20 000 frames twice both ways. `Limits.max_pixels` is
# also tested in test_mp4.py, and limits in part in test_sparse.py.
LONG_TO_MAKE, LONG_TO_READ = {"h_h264_8192.mp4"}, {"h_gif_4000x2000_20kframes.gif"}
pytestmark = pytest.mark.skipif(CORPUS is None, reason="the corpus script is not beside this repository")


class Answer:
    """What reading a file to its end gave: frames or an error."""

    def __init__(self, path: Path, *, codes: bool, **limits: float) -> None:
        self.error = ""
        self.codes: list[int | None] = []
        self.upright = True
        self.seconds: list[float] = []
        self.sizes: list[list[int]] = []
        self.info: VideoInfo | None = None
        self.report: VideoReport | None = None
        try:
            with read_video(path, SamplingPlan(fps=None), Limits(**limits)) as video:
                self.info = video.info
                for chunk in video:
                    self._look(chunk, codes=codes)
                self.report = video.report
        except VideoError as error:
            self.error = error.kind

    def _look(self, chunk, *, codes: bool) -> None:
        self.seconds += chunk.seconds.tolist()
        _, height, width = chunk.pixels.shape[1:]
        if not self.sizes or self.sizes[-1] != [width, height]:
            self.sizes.append([width, height])
        if codes and height >= FEWEST_PIXELS[0] and width >= FEWEST_PIXELS[1]:
            for pixels in chunk.pixels[: max(0, MOST_CODES - len(self.codes))]:
                code, upright = CORPUS.read_code(pixels.permute(1, 2, 0).numpy())
                self.codes.append(code)
                self.upright &= upright


def cases(names: list[str], long: set[str]) -> list:
    """Parameters for `odd`; the long ones are for `make evidence`."""
    return [pytest.param(name, marks=[pytest.mark.evidence] * (name in long)) for name in names]


@pytest.fixture(scope="module")
def odd(request, tmp_path_factory) -> tuple[Path, dict]:
    """The file of a name, with bait beside playlists and links, and what is to be expected of it."""
    name, folder = request.param, tmp_path_factory.mktemp("odd")
    if name.startswith(("i_", "f_symlink")):
        for bait in BAITS:
            CASES[bait][6](str(folder / bait))
    *_, expect, write = CASES[name]
    return folder / name, {**expect, **(write(str(folder / name)) or {})}


@pytest.mark.parametrize("odd", cases(NAMES, LONG_TO_MAKE), indirect=True)
def test_odd_file(odd):
    path, expect = odd
    limits = {"max_wall_seconds": 2.0} if "bomb" in expect else {}
    answer = Answer(path, codes="codes" in expect, **limits)
    kinds = {*expect.get("kinds", []), *([expect["kind"]] if "kind" in expect else [])}
    if expect["outcome"] == "error":
        assert answer.error in kinds or (expect.get("alt_outcome") == "ok" and not answer.error)
    elif answer.error:
        unreadable = expect["outcome"] == "partial" and not expect.get("min_frames")
        assert answer.error in kinds | ({"corrupt"} if unreadable else set())
    else:
        assert answer.seconds == sorted(set(answer.seconds))
        (check_partial if expect["outcome"] == "partial" else check_whole)(answer, expect)


@pytest.mark.parametrize("odd", cases(BOTH_WAYS, LONG_TO_MAKE | LONG_TO_READ), indirect=True)
def test_odd_file_in_part(odd, short_too):
    """Decoding in part gives the frames and seconds of decoding everything, or the same error."""
    for plan in (SamplingPlan(fps=2.0), SamplingPlan(fps=None, max_frames=4)):
        whole, part = (seen(odd[0], plan, decode) for decode in ("all", "auto"))
        assert part == whole


def seen(path: Path, plan: SamplingPlan, decode: str) -> tuple:
    try:
        with read_video(path, plan, Limits(max_decoded_frames=2000), size=(16, 24), decode=decode) as video:
            chunks = list(video)
            report = video.report
    except VideoError as error:
        return error.kind, str(error)
    pictures = [pixels.numpy().tobytes() for chunk in chunks for pixels in chunk.pixels]
    seconds = [second for chunk in chunks for second in chunk.seconds.tolist()]
    return pictures, seconds, (report.asked, report.got, report.seconds, report.truncated, report.complete)


def check_partial(answer: Answer, expect: dict) -> None:
    assert expect.get("min_frames", 0) <= answer.report.got <= expect.get("max_frames", 1 << 60)
    assert answer.report.truncated or answer.report.damaged


def check_whole(answer: Answer, expect: dict) -> None:
    report = answer.report
    if "pts" in expect:
        first = expect["pts"][0]
        assert answer.seconds == pytest.approx(
            [p - first for p in expect["pts"]], abs=expect.get("pts_tol", 1e-3) + 1e-6
        )
    if "bomb" not in expect:
        assert not report.truncated
        assert not report.damaged
    if expect.get("lenient"):
        return
    if "frames" in expect:
        assert report.got == expect["frames"]
    if "codes" in expect:
        assert answer.codes == expect["codes"][:MOST_CODES]
        assert answer.upright
    if "duration" in expect and not expect.get("pts_unreliable"):
        assert report.seconds == pytest.approx(
            expect["duration"], abs=max(0.02, expect.get("duration_tol", 0.02))
        )
    if "display" in expect:
        assert answer.sizes == [expect["display"]]
    if "sizes" in expect:
        assert answer.sizes == expect["sizes"]
    assert answer.info.rotation == expect.get("rotation", 0)
    assert answer.info.mirrored == expect.get("hflip", False)
    if expect.get("first_pts_missing"):
        assert report.substituted
