"""Write docs/performance.md from the recorded runs of the last day.

python benchmarks/page.py
"""

from pathlib import Path

from bvllm.app.bench.page import performance_page

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def newest() -> list[Path]:
    """The speed runs of the last day that has any; their names begin with their dates."""
    runs = sorted(RESULTS.glob("*-speed*.json"))
    return [run for run in runs if run.name[:10] == runs[-1].name[:10]]


if __name__ == "__main__":
    (ROOT / "docs" / "performance.md").write_text(performance_page(newest()), encoding="utf-8")
