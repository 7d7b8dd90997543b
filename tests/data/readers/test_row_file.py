"""Files of rows: the forms of LLaVA and its heirs, the chat schema, and every way a row can be wrong."""

import json

import pytest

from bvllm.data.dialogue import Media
from bvllm.data.faults import InvalidRow
from bvllm.data.readers import RowFile
from tests.data.rows import llava, picture, write


def one(tmp_path, row):
    return RowFile(write(tmp_path / "rows.json", [row]))[0]


def said(dialogue):
    """Turns as (role, parts), media as (kind, file name)."""
    return [
        (t.role, [p if isinstance(p, str) else (p.kind, p.source.name) for p in t.parts])
        for t in dialogue.turns
    ]


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.mp4", "d.mp4", "sub/e.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"not opened before it is needed")
    return tmp_path


@pytest.mark.parametrize(
    "row, parts",
    [
        # LLaVA: one image, the placeholder before or behind the question
        (llava("<image>\nwhat?", "a cat", image="a.jpg"), [("image", "a.jpg"), "what?"]),
        (llava("what?\n<image>", "a cat", image="a.jpg"), ["what?\n", ("image", "a.jpg")]),
        # LLaVA: text alone, with fields of its own
        (llava("what?", "a cat", model="gpt-4"), ["what?"]),
        (llava("what?", "a cat", image=None), ["what?"]),
        # Video-LLaVA: several of both kinds
        (
            llava("<video><image><image>\nwhat?", "x", image=["a.jpg", "b.jpg"], video=["c.mp4"]),
            [("video", "c.mp4"), ("image", "a.jpg"), ("image", "b.jpg"), "what?"],
        ),
        # LLaMA-VID: <image> for a video; VideoLLaMA2: an image named as a video
        (llava("<image>\nwhat?", "x", video="c.mp4"), [("video", "c.mp4"), "what?"]),
        (llava("<image>\nwhat?", "x", video="a.jpg"), [("video", "a.jpg"), "what?"]),
        # Valley: no suffix, and a subfolder in a field of its own
        (llava("what?\n<video>", "x", video="c"), ["what?\n", ("video", "c.mp4")]),
        (llava("<video>\nwhat?", "x", video="e", source="sub"), [("video", "e.mp4"), "what?"]),
        (llava("<video>\nwhat?", "x", videos=["c.mp4"]), [("video", "c.mp4"), "what?"]),
    ],
)
def test_the_forms_of_llava(folder, row, parts):
    assert said(one(folder, row)) == [("user", parts), ("assistant", [row["conversations"][1]["value"]])]


def test_media_of_later_rounds_stay_in_their_rounds(folder):
    row = llava("<image>\none?", "1", "<video>\ntwo?", "2", image="a.jpg", video="c.mp4", id=7)
    read = one(folder, row)
    assert said(read)[2] == ("user", [("video", "c.mp4"), "two?"])
    assert read.id == "7"
    assert [media.kind for media in read.media] == ["image", "video"]
    assert [media.kind for media in read.without_last_round().media] == ["image"]
    assert read.rounds == 2


def test_a_system_turn_may_come_first(folder):
    for row in (
        llava("what?", "x", system_prompt="be brief"),
        {
            "conversations": [
                {"from": "system", "value": "be brief"},
                *llava("what?", "x")["conversations"],
            ]
        },
    ):
        assert said(one(folder, row))[0] == ("system", ["be brief"])


def test_the_chat_schema_line_by_line(folder):
    chat = {
        "id": "a",
        "question": "fields of other uses are left alone",
        "messages": [
            {
                "role": "user",
                "content": [{"type": "video", "path": "c.mp4"}, {"type": "text", "text": "what?"}],
            },
            {"role": "assistant", "content": "a cat"},
        ],
    }
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(chat) + "\n\n" + json.dumps(llava("hello?", "hi")) + "\n")
    rows = RowFile(path)
    assert len(rows) == 2
    assert said(rows[0]) == [("user", [("video", "c.mp4"), "what?"]), ("assistant", ["a cat"])]
    assert said(rows[1]) == [("user", ["hello?"]), ("assistant", ["hi"])]
    assert rows.where(1) == f"{path}:3 (row 1)"
    assert rows[0].messages()[0]["content"] == [{"type": "video"}, {"type": "text", "text": "what?"}]


@pytest.mark.parametrize(
    "beside, content, parts",
    [
        ({"images": ["a.jpg"]}, "<image>\nwhat?", [("image", "a.jpg"), "what?"]),
        (
            {"image": "a.jpg", "video": "c.mp4"},
            "<video>a <image>",
            [("video", "c.mp4"), "a ", ("image", "a.jpg")],
        ),
        (
            {"images": ["a.jpg"]},
            [{"type": "image"}, {"type": "text", "text": "b"}],
            [("image", "a.jpg"), "b"],
        ),
        (
            {"video": "c.mp4"},  # as rows of the world have it: in its part, and once more beside
            [{"type": "video", "path": "c.mp4"}, {"type": "text", "text": "what?"}],
            [("video", "c.mp4"), "what?"],
        ),
    ],
)
def test_media_beside_messages(folder, beside, content, parts):
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "x"}]
    assert said(one(folder, {"messages": messages, **beside})) == [("user", parts), ("assistant", ["x"])]


def test_a_system_text_beside_messages(folder):
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    assert said(one(folder, {**row, "system": "be brief"}))[0] == ("system", ["be brief"])


def chat_row(*content, role="user", answer="x"):
    question = {"role": role, "content": list(content)}
    return {"messages": [question, {"role": "assistant", "content": answer}]}


@pytest.mark.parametrize(
    "row, kind, says",
    [
        ([1], "schema", "a row must be an object, got list"),
        ({"id": "a"}, "schema", "a row must have conversations or messages, got ['id']"),
        (llava("what?"), "no_answer", "a conversation must have an answer, got none"),
        (llava(), "no_answer", "a conversation must have an answer, got none"),
        (llava("what?", " "), "no_answer", "an answer must say something, got a blank one"),
        (llava("what?", "x", "and?"), "no_answer", "the last turn must be an answer, got a question"),
        (llava("what?", "cut \ud83d"), "schema", "text must be Unicode, got half a character"),
        (
            {"conversations": [{"from": "gpt", "value": "x"}, {"from": "human", "value": "y"}]},
            "roles",
            "turn 1 must be of user, got assistant",
        ),
        (
            {
                "conversations": [
                    {"from": f, "value": "x"} for f in ("human", "gpt", "gpt")
                ]
            },
            "roles",
            "turn 3 must be of user, got assistant",
        ),
        ({"conversations": [{"from": "bing", "value": "x"}]}, "roles", "got 'bing'"),
        ({"conversations": [{"from": ["human"], "value": "x"}]}, "roles", "got ['human']"),
        ({"conversations": [{"from": "human", "value": None}]}, "schema", "a text as 'value', got None"),
        ({"conversations": [{"value": "x"}]}, "schema", "must say whom it is from"),
        ({"conversations": ["x"]}, "schema", "must say whom it is from"),
        (llava(" ", "x"), "schema", "a question must ask something"),
        (chat_row({"type": "text", "text": "<image>what?"}), "placeholder", "'<image>': 1"),
        ({**chat_row({"type": "text", "text": "what?"}), "image": "a.jpg"}, "placeholder", "'image': 1"),
        (llava("<image>\nwhat?", "x"), "placeholder", "'<video>': 0} for files {'image': 0"),
        (llava("what?", "x", image="a.jpg"), "placeholder", "every placeholder must have its file"),
        (llava("<image><image>what?", "x", image="a.jpg"), "placeholder", "got {'<image>': 2"),
        (llava("<image><image>?", "x", image="a.jpg", video="c.mp4"), "placeholder", "every placeholder"),
        (llava("what?", "<image>", image="a.jpg"), "placeholder", "media must stand in a question"),
        (llava("<image>what?", "x", image=3), "schema", "image must be a path or a list of paths, got 3"),
        (llava("<image>what?", "x", image=""), "schema", "image must be a path"),
        (llava("<image>what?", "x", image="no.jpg"), "missing", "must be an existing file, got 'no.jpg'"),
        (llava("<image>what?", "x", image="sub"), "missing", "image must be an existing file, got 'sub'"),
        (llava("<image>what?", "x", image="a\0.jpg"), "missing", "image must be an existing file"),
        (llava("<image>what?", "x", image="x" * 300), "missing", "image must be an existing file"),
        (llava("<image>what?", "x", image="../up.jpg"), "outside_root", "must lie inside the media folder"),
        (llava("<image>what?", "x", image="../gone.jpg"), "outside_root", "must lie inside the media folder"),
        (llava("<image>what?", "x", image="link.jpg"), "outside_root", "must lie inside the media folder"),
        (llava("<video>what?", "x", video="up", source=".."), "missing", "video must be an existing file"),
        (chat_row({"type": "video"}), "placeholder", "got {'<image>': 0, '<video>': 1}"),
        (chat_row({"type": "text"}), "schema", "a text part must have a text, got none"),
        (chat_row({"type": "sound", "path": "a"}), "schema", "got one whose content.0.type must be 'text'"),
        (chat_row({"type": "text", "text": "x"}, role="tool"), "roles", "one whose role must be"),
        (chat_row({"type": "text", "text": "x"}, answer=""), "no_answer", "an answer must say something"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_with_file_line_and_reason(tmp_path, row, kind, says):
    root = tmp_path / "media"
    root.mkdir()
    picture(tmp_path / "up.jpg")
    for name in ("a.jpg", "c.mp4"):
        (root / name).write_bytes(b"x")
    (root / "sub").mkdir()
    (root / "link.jpg").symlink_to(tmp_path / "up.jpg")
    rows = RowFile(write(tmp_path / "rows.json", [llava("fine?", "yes"), row]), root)
    assert rows[0].id == "x"
    with pytest.raises(InvalidRow) as error:
        rows[1]
    fault = error.value.fault
    assert (fault.kind, fault.where) == (kind, rows.where(1))
    assert says in fault.reason
    assert "\n" not in str(error.value)
    line = int(rows.where(1).rsplit(":", 1)[1].split(" ")[0])
    before = (tmp_path / "rows.json").read_text().split("\n")[: line - 1]
    assert json.loads("\n".join(before).rstrip().rstrip(",") + "]") == [llava("fine?", "yes")]


@pytest.mark.parametrize(
    "piece, says",
    [
        ('{"id": 1,, "x": 2}', "a row must be JSON in UTF-8, got Expecting property name"),
        ('{"id": "\\ud8', "a row must be JSON in UTF-8, got"),
        ("", "the array must be closed, got the end of the file"),
        ('{"id": ' + "[" * 20_000 + "1" + "]" * 20_000 + "}", "must be JSON in UTF-8, got RecursionError"),
    ],
)  # fmt: skip
def test_what_is_no_json_is_named_too(tmp_path, piece, says):
    path = tmp_path / "rows.json"
    path.write_text(f"[{json.dumps(llava('fine?', 'yes'))},\n{piece}" + ("]" if piece.endswith("}") else ""))
    rows = RowFile(path)
    assert len(rows) == 2
    with pytest.raises(InvalidRow) as error:
        rows[1]
    assert error.value.fault.kind == "json"
    assert says in error.value.fault.reason


def test_latin_text_is_not_utf8(tmp_path):
    path = tmp_path / "rows.json"
    path.write_bytes(json.dumps([llava("caf\xe9?", "x")], ensure_ascii=False).encode("latin-1"))
    with pytest.raises(InvalidRow, match="a row must be JSON in UTF-8, got UnicodeDecodeError"):
        RowFile(path)[0]


def test_media_may_lie_anywhere_below_their_folder(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    target = picture(tmp_path / "deep" / "er" / "a.jpg")
    for name in ("deep/er/a.jpg", "deep/../deep/er/a.jpg", str(target)):
        read = one(tmp_path, llava("<image>what?", "x", image=name))
        assert read.media[0].source.resolve() == target.resolve()
        assert read.media[0] == Media("image", read.media[0].source, tmp_path)


def test_wrong_use(tmp_path):
    rows = RowFile(write(tmp_path / "rows.json", [llava("a?", "b")]))
    with pytest.raises(IndexError, match=r"row must be in 0\.\.0, got 1: see len\(\)"):
        rows[1]
    assert [row.id for row in rows] == ["x"]
    with pytest.raises(
        ValueError, match=r"media_root must be a folder, got '.*nowhere': name an existing one"
    ):
        RowFile(tmp_path / "rows.json", tmp_path / "nowhere")
