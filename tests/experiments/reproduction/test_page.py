from pathlib import Path

import pytest

from experiments.reproduction.page import FINDINGS, reproduction_page
from experiments.reproduction.report import TableRecord
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
    assert [(row.label, row.variant) for row in found.rows] == [(r.label, r.variant.name) for r in table.rows]
    assert [claim.text for claim in found.claims] == [claim.text for claim in table.claims]
    assert "-dirty" not in str(found.conditions["commit"])


def test_what_is_found_is_said_of_tables_that_were_run():
    assert set(FINDINGS) <= {path.stem for path in RECORDS}
