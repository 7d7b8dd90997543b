"""Write the API reference from the docstrings: one HTML page a module, `index.html` lists them.

python docs/make_reference.py [FOLDER]      # `make docs`; without a folder, site/
"""

import pkgutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pdoc
import pdoc.render

import bvllm

LEFT_OUT = {"app", "presets"}  # older homes


def modules() -> Iterator[str]:
    """Every public module of the package, rooms before what stands in them."""
    yield "bvllm"
    for found in pkgutil.walk_packages(bvllm.__path__, "bvllm."):
        if not any(part.startswith("_") or part in LEFT_OUT for part in found.name.split(".")[1:]):
            yield found.name


def write_reference(folder: Path) -> int:
    """Render all pages into a folder.

    Returns:
        How many modules there are.
    """
    names = list(modules())
    # Of types that are generic for the checker only (array, av.Packet), and of what transformers documents.
    warnings.filterwarnings("ignore", category=UserWarning, module="pdoc")
    pdoc.render.configure(docformat="google", footer_text=f"bvllm {bvllm.__version__}", math=False)
    pdoc.pdoc(*names, output_directory=folder)
    return len(names)


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else "site")
    print(f"{write_reference(where)} modules: open {where / 'index.html'}")
