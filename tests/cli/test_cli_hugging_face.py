"""transformers' video models from the command line: checkpoints on disk, as people have them."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from bvllm.cli import main
from tests.model.backbones.tiny_families import save, save_clip

KINDS = ("qwen2_5_vl", "llava_onevision", "smolvlm")
QUESTION = "which colour is the star"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("checkpoints")
    return {kind: str(save(kind, home)) for kind in KINDS} | {"clip": str(save_clip(home))}


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_answers_with_evidence_and_json(kind, folders, video, tmp_path, capsys):
    page, told = tmp_path / "page.html", tmp_path / "told.json"
    words = ["ask", str(video), QUESTION, "--model", folders[kind], "--budget", "24", "--max-new-tokens", "4"]
    words += ["--scorer", folders["clip"], "--index", str(tmp_path / "index")]
    assert main([*words, "--evidence", str(page), "--json", str(told)]) == 0
    found = json.loads(told.read_text())
    assert 1 <= found["tokens"] <= 24
    assert found["settings"]["used"]["methods"]["select_frames"] == "relevant"
    assert "<html" in page.read_text()[:500].lower()
    capsys.readouterr()
    # The next question finds the frames in the index; another one may choose others.
    assert main([*words[:2], "where does it move", *words[3:], "--option", "red", "--option", "blue"]) == 0
    assert capsys.readouterr().out.startswith(("red (A)", "blue (B)"))


def test_two_videos_and_a_picture_are_asked_about_together(folders, video, tmp_path, capsys):
    """One budget for all three; the trace and the evidence say which frame is whose."""
    picture, page, told = tmp_path / "plan.png", tmp_path / "page.html", tmp_path / "told.json"
    Image.new("RGB", (40, 40), (200, 30, 30)).save(picture)
    ask = ["ask", str(video), QUESTION, "--also", str(video), "--also", str(picture), "--no-index"]
    ask += [
        "--model",
        folders["qwen2_5_vl"],
        "--pipeline",
        "uniform",
        "--max-new-tokens",
        "3",
        "--frames",
        "7",
    ]
    assert main([*ask, "--budget", "30", "--evidence", str(page), "--json", str(told)]) == 0
    found = json.loads(told.read_text())
    assert [clip["kind"] for clip in found["clips"]] == ["video", "video", "image"]
    assert [clip["frames"] for clip in found["clips"]] == [3, 3, 1]
    assert sum(clip["tokens"] for clip in found["clips"]) == found["tokens"] == 30
    assert found["command"]["also"] == [str(video), str(picture)]
    assert [frame["clip"] for frame in found["frames"]] == [0] * 3 + [1] * 3 + [2]
    assert sum(frame["tokens"] for frame in found["frames"]) == 30
    text = page.read_text()
    assert all(name in text for name in ("video 1, ", "video 2, ", "picture 3, "))
    capsys.readouterr()
    assert main([*ask, "--budget", "5"]) == 0
    said = capsys.readouterr()
    assert "2 of 7 chosen frames have no token: the budget of 5 is below the number of frames" in said.err
    assert "; picture 3" in said.out.splitlines()[-1]
    for words, line in (
        (["--budget", "2"], "budget.tokens must be at least one for each of 2 videos and 1 picture, got 2"),
        (["--start", "1"], "--start and --end must be left out with --also"),
        (["--budget", "auto"], "--budget auto must be left out with --also"),
        (["--prune-layers", "fastv"], "prune_layers must be 'none' for several clips, got 'fastv'"),
    ):
        assert main([*ask, *words]) == 2
        assert line in capsys.readouterr().err
    assert main(["ask", str(video), QUESTION, "--also", str(video)]) == 2
    assert "reads one video a prompt, got 2 videos: ask about each alone" in capsys.readouterr().err


def test_tokens_go_by_the_tower_s_attention(folders, video, tmp_path, capsys):
    """A method that reads attention, from the command line; and one that this tower has none for."""
    ask = ["ask", str(video), QUESTION, "--model", folders["llava_onevision"], "--pipeline", "uniform"]
    ask += ["--budget", "24", "--max-new-tokens", "4", "--no-index", "--merge-tokens"]
    told = tmp_path / "told.json"
    for name in ("fastervlm", "visionzip"):
        assert main([*ask, name, "--json", str(told)]) == 0
        found = json.loads(told.read_text())
        assert found["tokens"] == 24
        assert found["settings"]["used"]["methods"]["merge_tokens"] == name
    capsys.readouterr()
    assert main([*ask, "vtc_cls"]) != 0
    said = capsys.readouterr().err
    assert "got 'vtc_cls', which goes by the attention of [CLS]" in said
    assert "gives that of a pooling head or what a patch receives from the others" in said


def test_what_is_wrong_is_one_line(folders, video, tmp_path, capsys, monkeypatch):
    model = folders["llava_onevision"]
    ask = ["ask", str(video), QUESTION, "--model", model, "--no-index"]

    def line(words: list[str]) -> str:
        status = main(words)
        said = capsys.readouterr().err.strip().splitlines()
        assert status != 0
        assert len([x for x in said if x.startswith("error: ")]) == 1, said
        return said[-1]

    assert "scorer must be named, got none" in line(ask)
    assert "did you mean 'uniform'" in line([*ask, "--pipeline", "uniforn"])
    assert "scorer" in line([*ask, "--scorer", str(tmp_path / "nowhere")])
    assert "must be a model of images and text" in line([*ask, "--scorer", model])
    assert "select_frames" in line([*ask, "--pipeline", "uniform", "--select-frames", "qformer"])
    assert "must be left out for model 'nano'" in line(
        ["ask", str(video), QUESTION, "--scorer", folders["clip"]]
    )
    monkeypatch.setattr("bvllm.inference.balance.is_torchvision_available", lambda: False)
    assert "pip install 'bvllm[hf]'" in line([*ask, "--pipeline", "uniform"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_reads_configurations_alone(kind, folders, video, tmp_path, capsys):
    """No weights: the folder's JSON files are enough, and say what a budget saves."""
    bare = tmp_path / kind
    bare.mkdir()
    for file in Path(folders[kind]).glob("*.json"):
        (bare / file.name).write_bytes(file.read_bytes())
    assert main(["plan", str(video), "--model", str(bare), "--budget", "40", "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    frames, each = told["frames"], told["patches_per_frame"]
    assert told["tokens"] == 40
    assert told["tokens_plain"] in (frames * each, frames * each // 2)
    assert told["prefill_flops"] < told["prefill_flops_plain"]
    # 2 layers, 2 of 4 heads of 8 channels, keys and values in two bytes each; 64 tokens of text.
    assert told["state_bytes"] == 2 * 2 * (2 * 2 * 8) * (40 + 64)


def test_the_families_are_listed(capsys):
    assert main(["models"]) == 0
    assert "| `qwen2_5_vl` | Qwen2.5-VL |" in capsys.readouterr().out
    assert main(["models", "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["smolvlm"]["title"] == "SmolVLM2"
    assert told["llava_next_video"]["several_videos"] is True
    assert told["llava_next_video"]["pictures_beside_a_video"] is False


def test_a_search_ranks_by_the_scorers_words(folders, video, tmp_path, capsys):
    """Each frame's score is the cosine of scorer features, worked out here by hand."""
    from bvllm.inference.balanced import BalancedModel
    from bvllm.inference.loading import load_model
    from bvllm.video import SamplingPlan, read_video

    words = ["search", str(video), "the red star", "--model", folders["smolvlm"], "--top", "1"]
    words += ["--index", str(tmp_path / "index"), "--json", "-"]
    assert main([*words, "--scorer", folders["clip"]]) == 0
    found = json.loads(capsys.readouterr().out)
    loaded = load_model(folders["smolvlm"], scorer=folders["clip"])
    assert isinstance(loaded, BalancedModel)
    assert loaded.scorer is not None
    with read_video(video, SamplingPlan(fps=1.0), size=loaded.frame_size) as stream:
        chunks = list(stream)
    features = torch.cat([loaded.scorer.frame_features(c.pixels) for c in chunks])
    cosines = features @ loaded.scorer.question_features("the red star")
    [best] = found["moments"]
    assert found["how"] == "words"
    assert best["score"] == pytest.approx(float(cosines.max()), abs=1e-5)
    assert best["seconds"] == float(torch.cat([c.seconds for c in chunks])[cosines.argmax()])
    assert main([*words, "--pipeline", "uniform"]) == 1
    assert "cannot search" in capsys.readouterr().err
