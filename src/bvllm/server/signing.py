"""Sign paths for a while, so that a player or a picture can be fetched without sending a key."""

import hashlib
import hmac
import secrets
import time
from urllib.parse import parse_qs

KEPT_SECONDS = 1800
DIGITS = 32


class Signer:
    """Signs paths with a secret that ends with the server.

    Example:
        >>> signer = Signer()
        >>> path, query = signer.signed("v1/files/file-1/content").split("?")
        >>> signer.holds("/" + path, query), signer.holds("/v1/files/file-2/content", query)
        (True, False)
    """

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def signed(self, path: str, seconds: int = KEPT_SECONDS) -> str:
        """The path with an end of its life and a signature; without a leading slash, as pages use it."""
        ends = int(time.time()) + seconds
        return f"{path}?exp={ends}&sig={self._signature('/' + path.lstrip('/'), ends)}"

    def holds(self, path: str, query: str) -> bool:
        """Whether a query signs this path, and has not run out; other fields in it do not count."""
        try:
            given = parse_qs(query, max_num_fields=8)
        except ValueError:
            return False
        ends, signature = given.get("exp", [""])[0], given.get("sig", [""])[0]
        if not (ends.isascii() and ends.isdecimal() and len(ends) < 16) or int(ends) < time.time():
            return False
        return hmac.compare_digest(self._signature(path, int(ends)).encode(), signature.encode())

    def _signature(self, path: str, ends: int) -> str:
        said = f"{path}\n{ends}".encode()
        return hmac.new(self._secret, said, hashlib.sha256).hexdigest()[:DIGITS]
