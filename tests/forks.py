"""Run work in forks of this process, so that what they share is imported once (for scripts that tests start).

Only where this process has run no kernel: threads of a kernel do not survive a fork.
"""

import json
import os
import traceback
from collections.abc import Callable


def in_a_fork(action: Callable[..., object], *args: object) -> dict[str, object]:
    """What an action gives in a fork, under "found", or how it failed, under "failed"."""
    hears, tells = os.pipe()
    if not (child := os.fork()):
        try:
            said = {"found": action(*args)}
        except BaseException:
            said = {"failed": traceback.format_exc()}
        with open(tells, "w") as pipe:
            json.dump(said, pipe)
        os._exit(0)
    os.close(tells)
    with open(hears) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text or '{"failed": "it died"}')
