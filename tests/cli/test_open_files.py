"""A search may hold many files open."""

import subprocess
import sys

CODE = """
import resource
from bvllm.cli.open_files import allow_many_files
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, min(hard, 1000) if hard != -1 else 1000))
allow_many_files()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def test_as_many_as_the_system_allows():
    said = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert said.stdout == "1000\n"
