"""Pictures that a JSON request names: `data:` URLs, and http(s) URLs from hosts that the operator has named.

Other hosts are refused before a name is looked up, and redirects are not followed: a request must not make this server
ask machines that only it can reach.
"""

import base64
import binascii
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from ..errors import Error

TIMEOUT = 15.0  # seconds, for all of one picture
CHUNK = 1 << 16


class RefusedError(Error):
    """An address that this server does not fetch from."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def check(url: str, field: str, hosts: Sequence[str]) -> None:
    """Raises Error for what is no URL of a picture, RefusedError for one that is none of `hosts`'."""
    if is_data(url):
        comma = url.find(",")
        if comma < 0 or not url.endswith(";base64", 0, comma):
            raise Error(f"{field}: a data: URL must be in base64 (data:image/png;base64,...), got {url[:40]!r}")
        return
    try:
        parts, named = urlsplit(url), urlsplit(url).hostname
    except ValueError:
        named = None
    if not named or parts.scheme not in ("http", "https"):
        raise Error(f"{field}: a data: URL is accepted, or an http(s) URL; got {url[:60]!r}")
    if not hosts:
        raise RefusedError(f"{field}: this server fetches no URLs; accepted: data: URLs, or multipart/form-data")
    if parts.netloc.lower() not in {host.lower() for host in hosts}:
        raise RefusedError(f"{field}: this server does not fetch from {parts.netloc!r}; accepted: {', '.join(hosts)}")


def is_data(url: str) -> bool:
    """It holds the picture, and nothing has to be fetched."""
    return url.startswith("data:")


def picture(url: str, field: str, most: int) -> bytes:
    """The bytes that a URL that was checked stands for, at most `most`."""
    return _data(url, field) if is_data(url) else _fetched(url, field, most)


def _data(url: str, field: str) -> bytes:
    try:
        return base64.b64decode(url[url.index(",") + 1 :], validate=True)
    except (binascii.Error, ValueError):
        raise Error(f"{field}: the data: URL's base64 is damaged; accepted: a whole one") from None


def _fetched(url: str, field: str, most: int) -> bytes:
    until = time.monotonic() + TIMEOUT
    data = bytearray()
    try:
        with _opener.open(url, timeout=TIMEOUT / 3) as answer:
            while chunk := answer.read1(CHUNK):
                data += chunk
                if len(data) > most:
                    raise Error(f"{field}: {url[:80]} is over {most:,} bytes, which is all that a job has left")
                if time.monotonic() > until:
                    raise Error(f"{field}: {url[:80]} took more than {TIMEOUT:g} s")
    except urllib.error.HTTPError as problem:
        with problem:
            raise Error(f"{field}: {url[:80]} answers {problem.code}; accepted: 200, without redirects") from None
    except (OSError, http.client.HTTPException, ValueError) as problem:
        if isinstance(problem, Error):
            raise
        raise Error(f"{field}: {url[:80]} cannot be fetched: {problem}") from None
    return bytes(data)
