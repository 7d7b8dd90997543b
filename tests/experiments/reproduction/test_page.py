from pathlib import Path

import pytest

from experiments.reproduction.page import FINDINGS, reproduction_page
from experiments.reproduction.records import TableRecord
from experiments.reproduction.scale import WORLDS
from experiments.reproduction.tables import TABLES

ROOT = Path(__file__).parents[3]
RECORDS = sorted((ROOT / "benchmarks" / "results" / "reproduction").glob("*.json"))


def test_the_page_is_written_from_the_records():
    assert (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8") == reproduction_page(RECORDS)


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: p.stem)
def test_a_record_is_of_the_table_as_it_stands(path):
    found = TableRecord.read(path)
    table = TABLES[found.name]
    assert path.stem == found.name
    assert "-dirty" not in str(found.conditions["commit"])
    assert found.worlds == WORLDS
    if len(found.rows) < len(table.rows):
        table = table.without_extras()
    rows = [(r.label, r.variant.name) for r in table.rows]
    assert [(row.label, row.variant) for row in found.rows] == rows
    assert [claim.text for claim in found.claims] == [c.text for _ in WORLDS for c in table.claims]


def test_what_is_found_is_said_of_tables_that_were_run():
    assert set(FINDINGS) == {TableRecord.read(path).name for path in RECORDS}
