"""Write docs/performance.md from the newest recorded run.

python benchmarks/page.py
"""

from pathlib import Path

from bvllm.app.bench.page import performance_page

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def newest() -> Path:
    """The last of the recorded speed runs, whose names begin with their dates."""
    return max(RESULTS.glob("*-speed.json"))


if __name__ == "__main__":
    (ROOT / "docs" / "performance.md").write_text(performance_page(newest()), encoding="utf-8")
