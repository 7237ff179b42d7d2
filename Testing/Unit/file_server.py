"""A real HTTP server on this machine that serves files, and misbehaves as it is told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """How one request is answered.

    Attributes:
        status: other than 200 and 206: only the status and the headers.
        headers: in place of, or besides, the usual ones; None leaves one out.
        stop_after: bytes of the body after which the connection is closed.
        ranges: whether a Range is honoured.
        shift: bytes by which a Range is answered at the wrong place.
        body: in place of the file.
        chunked: the body in chunks, without its length.
        pause: seconds between two pieces of `piece` bytes.
    """

    status: int = 200
    headers: dict[str, str | None] = field(default_factory=dict)
    stop_after: int | None = None
    ranges: bool = True
    shift: int = 0
    body: bytes | None = None
    chunked: bool = False
    pause: float = 0.0
    piece: int = 1 << 16


@dataclass
class FileServer:
    """What is served, how, and what was asked.

    Attributes:
        files: path -> bytes.
        answers: for the requests to come, in order; the usual answer after the last.
        requests: (path, headers) of those that came.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    etag: str | None = '"version 1"'

    def ranges(self) -> list[str]:
        """The Range of each request, or ""."""
        return [headers.get("Range", "") for _, headers in self.requests]


@contextmanager
def serving() -> Iterator[FileServer]:
    """A server while the block runs."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.state = FileServer(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield http.state
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Quiet."""

    def do_GET(self):  # noqa: N802
        state: FileServer = self.server.state
        state.requests.append((self.path, dict(self.headers)))
        answer = state.answers.pop(0) if state.answers else Answer()
        self.close_connection = True
        body = answer.body if answer.body is not None else state.files.get(self.path)
        if answer.status not in (200, 206) or body is None:
            self._head(404 if answer.status == 200 else answer.status, {"Content-Length": "0"},
                       answer)  # fmt: skip
            return
        status, headers, body = self._part(state, answer, body)
        if answer.chunked:
            headers = {**headers, "Content-Length": None, "Transfer-Encoding": "chunked"}
        self._head(status, headers, answer)
        self._send(answer, body[: answer.stop_after])

    def _part(self, state: FileServer, answer: Answer, body: bytes):
        total = len(body)
        headers = {"Content-Type": "application/octet-stream", "ETag": state.etag}
        wanted = self.headers.get("Range") if answer.ranges else None
        same = self.headers.get("If-Range") in (None, state.etag)
        if not wanted or not same:
            return 200, {**headers, "Content-Length": str(total)}, body
        first = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if first >= total:
            return 416, {"Content-Range": f"bytes */{total}", "Content-Length": "0"}, b""
        first += answer.shift
        headers["Content-Range"] = f"bytes {first}-{total - 1}/{total}"
        return 206, {**headers, "Content-Length": str(total - first)}, body[first:]

    def _head(self, status: int, headers: dict, answer: Answer):
        self.send_response(status)
        for name, value in {**headers, **answer.headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()

    def _send(self, answer: Answer, body: bytes):
        try:
            for start in range(0, len(body), answer.piece):
                piece = body[start : start + answer.piece]
                if answer.chunked:
                    piece = b"%x\r\n%s\r\n" % (len(piece), piece)
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(answer.pause)
            if answer.chunked and answer.stop_after is None:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            pass  # the other side went away
