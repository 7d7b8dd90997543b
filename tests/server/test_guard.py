"""Who may ask, from where."""

import time

import pytest
from fastapi import FastAPI
from starlette.routing import Route

from bvllm.server import guard as guarding
from bvllm.server.settings import ServerSettings, is_loopback, read_key
from bvllm.server.signing import Signer
from tests.server.asgi import FORM, call, form, post, question

KEY = "a-key-of-sixteen-characters"
OPEN = {"/", "/health", "/ready", "/page/{name}", "/static/{name}"}


def routes(server):
    """Every route of the application, by its own list."""
    app = server.app._app
    assert isinstance(app, FastAPI)
    found = [(route.path, sorted(route.methods)[0]) for route in app.routes if isinstance(route, Route)]
    return [*found, *((r.path, sorted(r.methods)[0]) for r in app.routes if not isinstance(r, Route))]


def test_every_route_but_those_of_health_and_page_is_closed_by_a_key(make):
    server = make(api_key=KEY)
    found = routes(server)
    assert len({path for path, _ in found}) >= 17
    for path, method in found:
        for header in ({}, {"authorization": "Bearer wrong"}, {"authorization": KEY}):
            reply = call(
                server.app, method, path.replace("{id}", "file-ab").replace("{name}", "x.js"), **header
            )
            if path in OPEN:
                assert reply.status != 401, path
            else:
                assert (reply.status, reply.code) == (401, "invalid_api_key"), path
    right = {"authorization": f"Bearer {KEY}"}
    assert call(server.app, "GET", "/v1/models", **right).status == 200
    assert post(server.app, "/v1/chat/completions", question(), **right).status == 200
    assert call(server.app, "GET", "/health").status == call(server.app, "GET", "/ready").status == 200


def test_a_signed_address_opens_one_file_for_a_while(make, monkeypatch):
    server = make(api_key=KEY)
    right = {"authorization": f"Bearer {KEY}"}
    id = call(server.app, "POST", "/v1/files", form(b"0123456789"), **FORM, **right).json["id"]
    url = "/" + call(server.app, "POST", f"/v1/files/{id}/signed_url", **right).json["url"]
    assert call(server.app, "GET", url).body == b"0123456789"
    assert call(server.app, "GET", url + "&heat=1").status == 200
    assert call(server.app, "DELETE", url).status == 401  # to look at, not to change
    assert call(server.app, "GET", url.replace("/content", "")).status == 401
    assert call(server.app, "GET", url.replace(id, "file-0000")).status == 401
    assert call(server.app, "GET", url[:-1] + ("0" if url[-1] != "0" else "1")).status == 401
    later = time.time() + 10_000
    monkeypatch.setattr(time, "time", lambda: later)
    assert call(server.app, "GET", url).status == 401


@pytest.mark.parametrize("query", ["", "exp=1&sig=x", "exp=99999999999999999&sig=", "exp=-1&sig=a", "&" * 20])
def test_nothing_else_is_a_signature(query):
    assert not Signer().holds("/v1/files/file-1/content", query)


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"host": "localhost:8000"}, 200),
        ({"host": "127.0.0.1"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "evil.example"}, 421),
        ({"host": "localhost.evil.example"}, 421),
        ({"host": ""}, 421),
        ({"origin": "http://localhost"}, 200),
        ({"origin": "http://localhost:9999"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "same-origin"}, 200),
        ({"sec_fetch_site": "cross-site"}, 403),
    ],
)
def test_other_sites_pages_get_nothing(server, headers, status):
    assert call(server.app, "GET", "/v1/models", **headers).status == status


def test_a_form_from_another_site_is_not_read(server):
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        reply = call(server.app, "POST", "/v1/chat/completions", b"{}", content_type=kind)
        assert (reply.status, reply.code) == (415, "not_json")
    reply = call(server.app, "POST", "/v1/files", form(b"x"), **FORM, origin="https://evil.example")
    assert reply.status == 403


def test_an_unknown_host_is_fine_where_the_server_cannot_know_its_name(make):
    server = make(api_key=KEY, host="0.0.0.0")
    assert call(server.app, "GET", "/health", host="videos.example").status == 200
    server = make(api_key=KEY, host="0.0.0.0", trusted_hosts=("videos.example",))
    assert call(server.app, "GET", "/health", host="videos.example:80").status == 200
    assert call(server.app, "GET", "/health", host="evil.example").status == 421


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "videos.example"])
def test_an_open_server_for_other_machines_must_be_asked_for(host):
    with pytest.raises(ValueError, match=r"--host must be a loopback .*, got .*: add --api-key-file"):
        ServerSettings(host=host)
    assert ServerSettings(host=host, insecure=True).api_key is None
    assert not is_loopback(host)


def test_keys_are_long_and_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="at least 16"):
        ServerSettings(api_key="short")
    file = tmp_path / "key"
    for text, why in (("", "hold one line"), ("a\nb\n", "hold one line")):
        file.write_text(text)
        with pytest.raises(ValueError, match=why):
            read_key(file)
    with pytest.raises(ValueError, match="readable file"):
        read_key(tmp_path / "none")
    file.write_text(f"{KEY}\n")
    assert read_key(file) == KEY
    assert KEY not in repr(ServerSettings(api_key=KEY))


def test_answers_carry_an_id_and_safe_headers_and_the_log_no_names(server, caplog):
    with caplog.at_level("INFO", "bvllm.server"):
        reply = call(server.app, "GET", "/v1/files/file-abcdef/content?sig=secret")
    assert reply.headers["x-request-id"].startswith("req_")
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "x-error-code" not in reply.headers
    assert reply.headers["x-request-id"] in caplog.text
    assert "secret" not in caplog.text
    assert "abcdef" not in caplog.text
    assert guarding.route_of("/v1/traces/chatcmpl-1f/frames/12.jpg") == "/v1/traces/{id}/frames/{id}.jpg"


@pytest.mark.parametrize(
    "path", ["/page/../app.py", "/page/..%2fapp.py", "/static/x", "/page/", "/nope", "/v1"]
)
def test_nothing_but_the_pages_files_is_served(server, path):
    assert call(server.app, "GET", path).status in (404, 405)


def test_unknown_methods_and_metrics(server):
    assert call(server.app, "PUT", "/v1/models").code == "method_not_allowed"
    text = call(server.app, "GET", "/metrics").body
    assert b"vllm:num_requests_running" in text
    assert b'bvllm:errors_total{code="method_not_allowed",model_name="stub"} 1.0' in text
