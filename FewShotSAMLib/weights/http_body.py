"""The bytes of a web address from any place on, and what a server says about them."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse, InvalidURL
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ..version import __version__

_PASSING = {408, 425, 429, 500, 502, 503, 504}  # a later attempt may succeed
_LONGEST_WAIT = 60.0  # seconds, whatever the server asks for


class Broken(Exception):
    """A connection failed in a way that may pass.

    Attributes:
        wait: seconds that the server asks to wait.
        unreachable: there is no such host, or nobody answers there.
        restart: the server cannot continue where it was asked to; begin again at 0.
    """

    def __init__(
        self,
        reason: str,
        *,
        wait: float = 0.0,
        unreachable: bool = False,
        restart: bool = False,
    ) -> None:
        super().__init__(reason)
        self.wait, self.unreachable, self.restart = wait, unreachable, restart


class Refused(Exception):
    """It can never work: wrong address, no such file, not allowed, certificate not trusted."""


@dataclass(frozen=True)
class BodyStart:
    """What comes, from the headers.

    Attributes:
        first: offset of the first byte; 0 where the server does not continue.
        total: bytes of the whole file, or None where it does not tell.
        validator: strong ETag or date of the file, to continue only the same one; or "".
        is_page: it is HTML, which no file of weights is.
    """

    first: int
    total: int | None
    validator: str
    is_page: bool


class Body:
    """Bytes that arrive."""

    def __init__(self, response: HTTPResponse, start: BodyStart) -> None:
        self.start = start
        self._response = response

    def read(self, most: int) -> bytes:
        """What has arrived, at most so many bytes; b"" at the end or when the server hung up.

        Raises:
            Broken: the connection failed.
        """
        try:
            return self._response.read1(most)
        except (OSError, HTTPException) as problem:
            raise Broken(f"the connection broke ({_reason(problem)})") from None


@contextmanager
def open_body(url: str, first: int, validator: str, timeout: float) -> Iterator[Body]:
    """A connection that delivers a file from the byte `first` on, or from 0 where the server
    cannot or the file is another one than `validator` says.

    Raises:
        Refused: it can never work.
        Broken: it may work later.
    """
    if not re.match(r"https?://[^/]", url):
        raise Refused("the address must start with https:// or http://")
    headers = {"User-Agent": f"FewShotSAM/{__version__}", "Accept-Encoding": "identity"}
    if first:
        headers["Range"] = f"bytes={first}-"
        if validator:
            headers["If-Range"] = validator
    response = _connect(url, headers, timeout)
    with response:
        yield Body(response, _read_headers(response, first))


def _connect(url: str, headers: dict[str, str], timeout: float) -> HTTPResponse:
    try:
        return build_opener(_Redirects).open(Request(url, headers=headers), timeout=timeout)
    except HTTPError as answer:
        with answer:
            said = f"the server answers {answer.code} {answer.reason}".rstrip()
            if answer.code in _PASSING:
                raise Broken(said, wait=_asked_wait(answer.headers)) from None
            if answer.code == 416:  # the partial file is longer than the server's
                raise Broken(said, restart=True) from None
            raise Refused(said) from None
    except URLError as problem:
        raise _connection_problem(problem.reason) from None
    except (ValueError, InvalidURL) as problem:
        raise Refused(f"the address cannot be used ({problem})") from None
    except (OSError, HTTPException) as problem:
        raise _connection_problem(problem) from None


def _connection_problem(problem: object) -> Exception:
    if isinstance(problem, ssl.SSLCertVerificationError):
        return Refused(
            f"the server's certificate is not trusted ({problem.verify_message}); where a proxy "
            "replaces certificates, SSL_CERT_FILE names the file of its own"
        )
    unreachable = isinstance(problem, (socket.gaierror, ConnectionRefusedError))
    return Broken(f"no connection ({_reason(problem)})", unreachable=unreachable)


def _reason(problem: object) -> str:
    if isinstance(problem, TimeoutError):
        return "nothing came for too long"
    return getattr(problem, "strerror", None) or str(problem) or type(problem).__name__


def _asked_wait(headers: Message) -> float:
    seconds = headers.get("Retry-After", "")
    return min(float(seconds), _LONGEST_WAIT) if seconds.isdecimal() else 0.0


def _read_headers(response: HTTPResponse, asked: int) -> BodyStart:
    headers: Mapping[str, str] = response.headers
    if headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
        raise Refused("the server sends it compressed, which was not asked for")
    length = headers.get("Content-Length", "")
    first, total = 0, int(length) if length.isdecimal() else None
    if response.status == 206:
        span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", "").strip())
        if span is None or int(span[1]) != asked or span[3] == "*":
            raise Broken("the server continues at another place than asked for", restart=True)
        first, total = asked, int(span[3])
    etag = headers.get("ETag", "")
    validator = etag if etag.startswith('"') else headers.get("Last-Modified", "")
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return BodyStart(first, total, validator, kind in ("text/html", "application/xhtml+xml"))


class _Redirects(HTTPRedirectHandler):
    """Follows redirects, but neither away from HTTP nor from https to http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        """The request to follow with."""
        allowed = ("https:",) if req.type == "https" else ("https:", "http:")
        if not newurl.lower().startswith(allowed):
            raise Refused(f"the server redirects to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
