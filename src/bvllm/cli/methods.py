"""`bvllm methods`: list the methods that can fill a slot, or tell of one in full."""

from dataclasses import asdict
from typing import Annotated

import typer

from bvllm.cli.console import silence_libraries, wrong_use
from bvllm.cli.json_output import JsonOption, deliver


def methods(
    name: Annotated[
        str | None, typer.Argument(help="Tell of this one in full.", metavar="[NAME]", show_default=False)
    ] = None,
    json_target: JsonOption = None,
) -> None:
    """List the methods that can fill a slot of the pipeline, or tell of one in full."""
    silence_libraries()
    from bvllm.methods.listing import all_methods, in_full, methods_named, methods_table

    if name is None:
        found = all_methods()
        deliver(json_target, lambda: methods_table(found), lambda: {"methods": [asdict(m) for m in found]})
        return
    with wrong_use():
        named = methods_named(name)
    deliver(
        json_target, lambda: "\n\n".join(map(in_full, named)), lambda: {"methods": [asdict(m) for m in named]}
    )
