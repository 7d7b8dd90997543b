"""Ask the server whether it is well, for HEALTHCHECK; without bvllm, which takes seconds to import."""

import http.client
import sys

try:
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000, timeout=8
    )
    connection.request("GET", "/health")
    sys.exit(connection.getresponse().status != 200)
except OSError as error:
    sys.exit(f"no answer: {error}")
