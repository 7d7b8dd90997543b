"""docs/data.md is run: its Python block is executed where the files it speaks of exist."""

import re
from pathlib import Path

from tests.data.rows import llava, picture, video, write
from tests.data.test_shards import asks, pack
from tests.model import tiny

PAGE = Path(__file__).parents[2] / "docs/data.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_blocks_run(tmp_path, monkeypatch, capsys):
    media = tmp_path / "videollava_pt"
    media.mkdir()
    picture(media / "a.jpg")
    video(media / "b.mp4")
    said = [
        llava("<image>\nwhich ?", "red", image="a.jpg"),
        llava("<video>\nwhich ?", "blue", video="b.mp4"),
        llava("what ?"),  # no answer
    ]
    write(tmp_path / "valley_llavaimage.json", said)
    pack(tmp_path / "0.tar", ("0", {"json": asks(0)}))
    pack(tmp_path / "1.tar", ("1", {"json": asks(1)}))
    tiny.processor().save_pretrained(tmp_path / "runs/paper_7b/model")
    monkeypatch.chdir(tmp_path)
    assert BLOCKS
    for body in BLOCKS:
        exec(compile(body, PAGE.name, "exec"), {"__name__": "page"})
    printed = capsys.readouterr().out.splitlines()
    assert [line.startswith("torch.Size([4, ") for line in printed[:2]] == [True, True]  # steps 9 and 10
    assert printed[2].startswith("1 rows left out: 1 no_answer")
