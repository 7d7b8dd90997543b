"""A server on a socket of this machine, in a thread of this process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bvllm.server.app import create_app
from bvllm.server.engine import Engine
from bvllm.server.run import GracefulServer, config_of, listen
from bvllm.server.settings import ServerSettings
from bvllm.server.state import ServerState


@contextmanager
def serving(settings: ServerSettings, engine: Engine) -> Iterator[str]:
    """The address of a server that answers until the block is left."""
    state = ServerState.of(settings, engine)
    server = GracefulServer(config_of(create_app(state), settings), state)
    with listen(settings.host, 0) as at:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [at]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{at.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=20)
            state.close()
    assert not thread.is_alive(), "the server must stop when it is asked to"
