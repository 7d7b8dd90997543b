"""Print what a project and one of its extras ask for, a line each: requirements.py pyproject.toml serve."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"]
print(*project["dependencies"], *project["optional-dependencies"][sys.argv[2]], sep="\n")
