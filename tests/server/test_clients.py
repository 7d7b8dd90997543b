"""docs/clients.md is run: its blocks ask a live server, each through the client that it is about."""

import base64
import re
import shutil
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from bvllm.index import IndexFolder
from bvllm.inference.ask import LoadedModel
from bvllm.server.engine import Engine
from bvllm.server.settings import ServerSettings
from bvllm.video import Limits
from tests.model import tiny
from tests.server.live import serving

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```\w+ title=(\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
VERSIONS = {
    row[0]: row[1]
    for row in re.findall(r"^\| ([^|]+) \| (?:langchain-openai )?([\d.]+) \|", PAGE, re.MULTILINE)
}


@pytest.fixture(scope="module")
def folder(video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `--allow-path demo` means on the page."""
    home = tmp_path_factory.mktemp("clients")
    (home / "demo").mkdir()
    shutil.copy(video, home / "demo" / "video.mp4")
    return home


@pytest.fixture(scope="module")
def base(folder: Path) -> Iterator[str]:
    """A small random model, which goes by the name that the page uses."""
    loaded = LoadedModel(tiny.model(), tiny.processor(), "nano")
    engine = Engine(loaded, IndexFolder(folder / "index"), Limits(), name="nano")
    settings = ServerSettings(allow_paths=(folder / "demo",), upload_dir=folder)
    with serving(settings, engine) as address:
        yield address


def block(title: str, base: str) -> str:
    assert "http://127.0.0.1:8000" in BLOCKS[title]
    return BLOCKS[title].replace("http://127.0.0.1:8000", base)


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_curl_lines_of_the_page(base, folder):
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    uploaded, answered, *streamed = (
        run(["bash", "-euc", block("curl", base)], folder).replace("}{", "}\n{").splitlines()
    )
    assert '"id":"file-' in uploaded
    assert '"trace":{"id":"chatcmpl-' in answered
    assert '"tokens_asked":64' in answered
    assert "data: [DONE]" in streamed


def test_the_openai_block_of_the_page(base, folder, monkeypatch, capsys):
    pytest.importorskip("openai")
    monkeypatch.chdir(folder)
    exec(compile(block("openai", base), "docs/clients.md", "exec"), {})
    assert re.search(r"^\d+\.\d s: \d+ tokens$", capsys.readouterr().out, re.MULTILINE)


def test_what_openai_raises_says_what_to_change(base):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=2)

    def ask(url: str, **more: object) -> object:
        parts = [{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": "which colour?"}]
        return client.chat.completions.create(
            model="nano", messages=[{"role": "user", "content": parts}], **more
        )

    with pytest.raises(openai.NotFoundError) as gone:
        ask("file-000000000000000000000000")
    assert gone.value.code == "file_not_found"
    with pytest.raises(openai.BadRequestError) as misspelt:
        ask("video.mp4", extra_body={"token_bugdet": 64})
    assert "token_budget" in misspelt.value.message
    noise = base64.b64encode(b"no video at all" * 100).decode()
    with pytest.raises(openai.APIStatusError) as broken:
        for _ in ask(f"data:video/mp4;base64,{noise}", stream=True):
            pass
    assert broken.value.status_code in (400, 422)


def test_the_request_of_lmms_eval(base, folder):
    """As chat/openai.py of lmms-eval builds it with pass_video_url=True."""
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{base}/v1", api_key="none")
    parts = [
        {"type": "video_url", "video_url": {"url": f"file://{folder}/demo/video.mp4"}},
        {
            "type": "text",
            "text": "which colour is the sign?\nA. red\nB. blue\nAnswer with the option's letter.",
        },
    ]
    answer = client.chat.completions.create(
        messages=[{"role": "user", "content": parts}],
        model="nano",
        max_tokens=8,  # it asks for up to 4096; what is random never ends by itself
        temperature=0,
        extra_body={"media_io_kwargs": {"video": {"num_frames": 4}}},
    )
    assert answer.choices[0].message.content is not None
    assert answer.usage.prompt_tokens > 0
    assert len(answer.trace["frames"]) <= 4
    assert answer.trace["frames_asked"] == 4


@pytest.mark.clients
def test_the_javascript_block_of_the_page(base, folder):
    if shutil.which("npm") is None:
        pytest.skip("no npm here")
    (folder / "openai.mjs").write_text(block("openai.mjs", base))
    run(["npm", "install", "--no-audit", "--no-fund", f"openai@{VERSIONS['openai (JavaScript)']}"], folder)
    assert re.search(r"\[ \d", run(["node", "openai.mjs"], folder))


@pytest.mark.clients
@pytest.mark.parametrize("title, packages", [
    ("langchain", [f"langchain-openai=={VERSIONS['LangChain']}"]),
    ("litellm", [f"litellm=={VERSIONS['LiteLLM']}"]),
])  # fmt: skip
def test_a_python_block_in_an_environment_of_its_own(base, folder, title, packages):
    home = folder / f"{title}-venv"
    venv.create(home, with_pip=True)
    run([str(home / "bin/python"), "-m", "pip", "install", "--quiet", *packages], folder)
    said = run([str(home / "bin/python"), "-c", block(title, base)], folder)
    assert re.search(r"\[\d+\.\d", said), said
