"""Write the API reference from the docstrings: one HTML page a module, `index.html` lists them.

python docs/make_reference.py [FOLDER]      # `make docs`; without a folder, site/
"""

import ast
import html
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
    (folder / "index.html").write_text(index_page(names), encoding="utf-8")
    return len(names)


def index_page(names: list[str]) -> str:
    """Every module with its first line, room by room; pdoc's own start page shows the top module only."""
    rows, room = [], ""
    for name in names:
        here = name.split(".")[1] if "." in name else ""
        if here != room:
            rows.append(f"<h2>{here}</h2>")
            room = here
        link = name.replace(".", "/") + ".html"
        rows.append(f'<p><a href="{link}"><code>{name}</code></a> {html.escape(first_line(name))}</p>')
    title = f"bvllm {bvllm.__version__}: the API reference"
    style = "body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}p{margin:.2rem 0}"
    head = f'<meta charset="utf-8"><title>{title}</title><style>{style}</style>'
    body = f"<h1>{title}</h1>{chr(10).join(rows)}"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'


def first_line(name: str) -> str:
    """What a module says of itself first, read without importing it."""
    path = Path(bvllm.__file__).parent.joinpath(*name.split(".")[1:])
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").partition("\n\n")[0]


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else "site")
    print(f"{write_reference(where)} modules: open {where / 'index.html'}")
