"""Videos that are uploaded, sent along, or lie in allowed folders."""

import base64
import os

import pytest

from bvllm.server.errors import ApiError
from bvllm.server.settings import Ceilings
from tests.server.asgi import FORM, call, form, post, question

DATA = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 16
CHAT = "/v1/chat/completions"


def upload(server, data=DATA, name="a.mp4"):
    return call(server.app, "POST", "/v1/files", form(data, name), **FORM).json


def test_a_file_goes_round(server):
    made = upload(server, name="../../etc/a b.mp4")
    assert (made["filename"], made["bytes"], made["status"]) == ("a b.mp4", len(DATA), "processed")
    assert [f["id"] for f in call(server.app, "GET", "/v1/files").json["data"]] == [made["id"]]
    assert call(server.app, "GET", f"/v1/files/{made['id']}").json == made
    assert call(server.app, "GET", f"/v1/files/{made['id']}/content").body == DATA
    assert post(server.app, CHAT, question(video=made["id"])).status == 200
    assert call(server.app, "DELETE", f"/v1/files/{made['id']}").json["deleted"] is True
    assert call(server.app, "GET", f"/v1/files/{made['id']}").code == "file_not_found"
    assert post(server.app, CHAT, question(video=made["id"])).status == 404
    assert list(server.state.library.store.folder.iterdir()) == []


def test_the_same_bytes_lie_on_the_disk_once_and_go_with_the_last_name(server):
    first, second = upload(server), upload(server)
    assert len(list(server.state.library.store.folder.iterdir())) == 1
    call(server.app, "DELETE", f"/v1/files/{first['id']}")
    assert call(server.app, "GET", f"/v1/files/{second['id']}/content").body == DATA


@pytest.mark.parametrize(
    "said, status, expected, where",
    [
        ("bytes=0-", 206, DATA, "0-4107/4108"),
        ("bytes=4-9", 206, DATA[4:10], "4-9/4108"),
        ("bytes=-8", 206, DATA[-8:], "4100-4107/4108"),
        ("bytes=4000-99999", 206, DATA[4000:], "4000-4107/4108"),
        ("bytes=0-1,4-5", 200, DATA, None),
        ("bytes=-", 200, DATA, None),
        ("apples=1-2", 200, DATA, None),
    ],
)
def test_a_player_seeks_by_ranges(server, said, status, expected, where):
    path = f"/v1/files/{upload(server)['id']}/content"
    reply = call(server.app, "GET", path, range=said)
    assert (reply.status, reply.body, reply.headers.get("content-range")) == (
        status,
        expected,
        where and f"bytes {where}",
    )
    assert reply.headers["content-type"] == "video/mp4"
    head = call(server.app, "HEAD", path, range=said)
    assert (head.status, head.body, head.headers["content-length"]) == (status, b"", str(len(expected)))


@pytest.mark.parametrize("said", ["bytes=4108-", "bytes=9-3", "bytes=-0"])
def test_ranges_beyond_the_end_are_refused(server, said):
    reply = call(server.app, "GET", f"/v1/files/{upload(server)['id']}/content", range=said)
    assert (reply.status, reply.code) == (416, "range_not_there")


def test_what_a_client_calls_its_file_decides_nothing(server):
    made = upload(server, b"<script>alert(1)</script>", "page.html")
    reply = call(server.app, "GET", f"/v1/files/{made['id']}/content")
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "body, kind, status, code",
    [
        (form(b""), FORM["content_type"], 400, "empty"),
        (form(b"x" * (1 << 20) + b"x"), FORM["content_type"], 413, "video_too_large"),
        (form(b"x" * (2 << 20)), FORM["content_type"], 413, "body_too_large"),
        (form(DATA)[:-40], FORM["content_type"], 400, "invalid_form"),
        (b"--X--\r\n", FORM["content_type"], 400, "invalid_value"),
        (form(DATA).replace(b'name="file"', b'name="video"'), FORM["content_type"], 400, "invalid_value"),
        (form(DATA), "multipart/form-data", 415, "not_a_form"),
        (form(DATA), "application/json", 415, "not_a_form"),
        (b"garbage", FORM["content_type"], 400, "invalid_form"),
        (form(DATA)[:-7] + form(DATA), FORM["content_type"], 400, "invalid_value"),
        (form(DATA, purpose="x" * 5000), FORM["content_type"], 400, "invalid_value"),
    ],
)
def test_bad_uploads_leave_nothing_behind(make, body, kind, status, code):
    server = make(ceilings=Ceilings(video_mb=1))
    reply = call(server.app, "POST", "/v1/files", [body[:50], body[50:]], content_type=kind)
    assert (reply.status, reply.code) == (status, code)
    assert list(server.state.library.store.folder.iterdir()) == []


def test_the_store_keeps_to_its_quota_by_forgetting_the_oldest(make):
    server = make(ceilings=Ceilings(video_mb=1, store_mb=1, files=3))
    first = upload(server, b"a" * 600_000)
    second = upload(server, b"b" * 600_000)
    assert call(server.app, "GET", f"/v1/files/{first['id']}").status == 404
    assert call(server.app, "GET", f"/v1/files/{second['id']}").status == 200
    upload(server, b"c")
    reply = call(server.app, "POST", "/v1/files", form(b"d"), **FORM)
    assert (reply.status, reply.code) == (429, "too_many_files")


def test_what_is_on_its_way_is_bounded_for_all_clients_together(make):
    server = make(ceilings=Ceilings(video_mb=1, store_mb=1))
    store = server.state.library.store
    with store.arriving(1 << 20) as first, store.arriving(1 << 20) as second:
        first.write(bytes(700_000))
        with pytest.raises(ApiError, match="disk for videos is full"):
            second.write(bytes(700_000))
    text = base64.b64encode(bytes(600_000)).decode()  # the text lies on the disk, too
    reply = post(server.app, CHAT, question(video=f"data:video/mp4;base64,{text}"))
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (507, "storage_full", "60")
    small = base64.b64encode(bytes(400_000)).decode()
    for _ in range(3):  # nothing of the others is counted any more
        assert post(server.app, CHAT, question(video=f"data:video/mp4;base64,{small}")).status == 200


def test_files_expire(make, monkeypatch):
    server = make()
    field = b'--X\r\nContent-Disposition: form-data; name="expires_after[seconds]"\r\n\r\n3600\r\n'
    made = call(server.app, "POST", "/v1/files", field + form(DATA), **FORM).json
    assert made["expires_at"] - made["created_at"] == 3600
    monkeypatch.setattr("bvllm.server.store.time.time", lambda: made["expires_at"] + 1.0)
    assert call(server.app, "GET", f"/v1/files/{made['id']}").status == 404
    assert list(server.state.library.store.folder.iterdir()) == []
    wrong = call(server.app, "POST", "/v1/files", field.replace(b"3600", b"-1") + form(DATA), **FORM)
    assert (wrong.status, wrong.json["error"]["param"]) == (400, "expires_after[seconds]")


def test_a_video_inside_the_request_is_measured_first_and_kept_once(make):
    server = make(ceilings=Ceilings(video_mb=1, store_mb=4))
    for data in (DATA, bytes(600_000)):
        text = base64.b64encode(data).decode()
        for part in (
            {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{text}"}},
            {"type": "input_video", "input_video": {"data": text}},
            {"type": "file", "file": {"file_data": f"data:video/mp4;base64,{text}"}},
        ):
            asked = {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "what?"}]}]}
            assert post(server.app, CHAT, asked).status == 200
    assert len(list(server.state.library.store.folder.iterdir())) == 2
    large = "data:video/mp4;base64," + "A" * 1_410_000
    assert post(server.app, CHAT, question(video=large)).code == "video_too_large"
    assert post(server.app, CHAT, question(video="data:video/mp4;base64,@@@@")).code == "invalid_data_url"
    assert len(list(server.state.library.store.folder.iterdir())) == 2


def test_videos_of_the_folder_have_ids_and_relative_names(server):
    [found] = call(server.app, "GET", "/v1/videos").json["data"]
    assert (found["name"], found["indexed"], found["bytes"]) == ("a.mp4", False, 1036)
    assert post(server.app, CHAT, question(video=found["id"])).status == 200
    assert call(server.app, "GET", f"/v1/files/{found['id']}/content", range="bytes=4-7").body == b"ftyp"
    assert call(server.app, "DELETE", f"/v1/files/{found['id']}").status == 404  # not ours to delete


def test_only_files_inside_the_folder_can_be_named(server, videos, tmp_path):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(DATA)
    os.symlink(secret, videos / "link.mp4")
    os.symlink(tmp_path, videos / "folder")
    inside = videos / "a.mp4"
    for named in ("a.mp4", str(inside), inside.as_uri()):
        assert post(server.app, CHAT, question(video=named)).status == 200
    for named in (
        "../secret.mp4",
        str(secret),
        secret.as_uri(),
        "link.mp4",
        "folder/secret.mp4",
        "a.mp4\0",
        "none.mp4",
        "/etc/passwd",
        "file:///etc/passwd",
        "..%2fsecret.mp4",
        "",
    ):
        reply = post(server.app, CHAT, question(video=named))
        assert reply.status in (400, 403), named
    assert [v["name"] for v in call(server.app, "GET", "/v1/videos").json["data"]] == ["a.mp4"]


def test_a_link_swapped_in_after_the_check_does_not_escape(server, videos, tmp_path):
    """What was opened is checked, not what the name said before."""
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(DATA)
    found = server.state.library.by_path("a.mp4")
    (videos / "a.mp4").unlink()
    os.symlink(secret, videos / "a.mp4")
    server.state.library.in_folders()
    reply = call(server.app, "GET", "/v1/videos")
    assert reply.json["data"] == []
    server.state.library._known[found.id] = found  # as if it had been listed just before
    assert call(server.app, "GET", f"/v1/files/{found.id}/content").code == "outside_root"


def test_without_a_folder_no_path_is_taken(make):
    server = make(allow_paths=())
    assert post(server.app, CHAT, question()).code == "path_not_allowed"
    assert call(server.app, "GET", "/v1/videos").json["data"] == []
