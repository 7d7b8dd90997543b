"""Write docs/reproduction.md from the recorded tables.

python benchmarks/reproduction.py
"""

from pathlib import Path

from bvllm.app.reproduce.page import reproduction_page

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "reproduction"

if __name__ == "__main__":
    page = reproduction_page(sorted(RESULTS.glob("*.json")))
    (ROOT / "docs" / "reproduction.md").write_text(page, encoding="utf-8")
