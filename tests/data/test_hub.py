"""Sets on the Hub: names, and what the package `datasets` is asked for."""

import sys
import types

import pytest

from bvllm.data.hub import HubName, StreamedRows, open_hub
from tests.data.rows import llava


@pytest.mark.parametrize(
    "text, name",
    [
        ("hf://a/b", HubName("a/b")),
        ("hf://a/b:test", HubName("a/b", "test")),
        ("hf://a/b.c-1/sub_set:open", HubName("a/b.c-1", "open", "sub_set")),
        ("hf://a/b@0f3c/sub", HubName("a/b", "train", "sub", "0f3c")),
    ],
)
def test_a_name_says_what_to_read(text, name):
    assert HubName.parse(text) == name
    assert HubName.parse(f"hf://{name}") == name


@pytest.mark.parametrize("text", ["hf://a", "hf://a/b:", "hf://a/b/c/d", "a/b", "hf:///a/b", "hf://a/b:c d"])
def test_any_other_form_is_refused(text):
    with pytest.raises(ValueError, match=r"a set on the Hub must be named hf://owner/name.+, got '.+: for"):
        HubName.parse(text)


class FakeDataset:
    """What `datasets` gives in streaming form, as far as it is used."""

    def __init__(self, rows, broken_at=None):
        self.rows, self.broken_at = rows, broken_at
        self.features, self.num_shards, self.decodes = {"id": None}, 2, True

    def __iter__(self):
        raise AssertionError("plain iteration gives workers shares")

    def decode(self, enable):
        self.decodes = enable
        return self

    def iter(self, batch_size):
        for k, row in enumerate(self.rows):
            if k == self.broken_at:
                raise RuntimeError("the line is dead\nmore of it")
            yield {column: [value] for column, value in row.items()}

    def shard(self, num_shards, index):
        return FakeDataset(self.rows[index::num_shards])


@pytest.fixture
def library(monkeypatch):
    """A stand-in for the package; it notes what it was asked for."""
    asked = []
    module = types.ModuleType("datasets")

    def load_dataset(path, **options):
        asked.append((path, options))
        if path == "no/where":
            raise KeyError("no such set")
        return module.dataset

    module.dataset = FakeDataset([llava("what ?", "x", id=str(k)) for k in range(4)])
    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module, asked


def test_it_is_opened_in_streaming_form_and_media_stay_as_they_are(library):
    module, asked = library
    source = open_hub(HubName("a/b", "test", "sub", "0f3c"))
    told = {"name": "sub", "split": "test", "revision": "0f3c", "streaming": True}
    assert asked == [("a/b", told)]
    assert module.dataset.decodes is False
    assert [row.id for row in source.rows(0)] == list("0123")
    assert next(source.rows(0)).where == "a/b@0f3c/sub:test (row 0)"


def test_what_the_network_does_wrong_is_one_line(library):
    with pytest.raises(OSError, match=r"^no/where:train could not be read from the Hub, KeyError: 'no such"):
        open_hub(HubName("no/where"))
    rows = iter(StreamedRows(FakeDataset([{"id": 1}, {"id": 2}], broken_at=1), "a/b:train"))
    assert next(rows) == {"id": 1}
    with pytest.raises(OSError, match=r"^a/b:train could not .+, RuntimeError: the line is dead$"):
        next(rows)
