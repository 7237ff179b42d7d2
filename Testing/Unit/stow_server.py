"""A small DICOMweb server, a process of its own that stores what it is sent (STOW-RS):

    python stow_server.py FOLDER

It prints its address. Below /dicom-web files are stored in FOLDER by their SOP Instance UID; below
/status/N it answers N, below /failing it stores nothing and says so, below /page it answers with a
web page, below /garbage with what is no JSON. What each request's Authorization was stands in
FOLDER/authorization.txt.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pydicom


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Quiet."""

    def do_POST(self):  # noqa: N802
        body, folder = self._body(), self.server.folder
        with (folder / "authorization.txt").open("a", encoding="utf-8") as file:
            file.write(f"{self.headers.get('Authorization')}\n")
        if self.path.startswith("/status/"):
            self._answer(int(self.path.split("/")[2]), "text/plain", b"")
        elif self.path in ("/page/studies", "/garbage/studies"):
            page = self.path.startswith("/page")
            self._answer(200, "text/html" if page else "application/dicom+json", b"<html>")
        elif self.path in ("/dicom-web/studies", "/failing/studies"):
            parts = list(_parts(self.headers["Content-Type"], body))
            self._store(parts, folder if self.path.startswith("/dicom-web") else None)
        else:
            self._answer(404, "text/plain", b"")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _store(self, parts: list[bytes], folder: Path | None):
        said = pydicom.Dataset()
        for part in parts:
            sent, item = pydicom.dcmread(io.BytesIO(part)), pydicom.Dataset()
            item.ReferencedSOPClassUID = sent.SOPClassUID
            item.ReferencedSOPInstanceUID = sent.SOPInstanceUID
            if folder is None:
                item.FailureReason = 0xA700  # out of resources
                said.FailedSOPSequence = [item]
            else:
                (folder / f"{sent.SOPInstanceUID}.dcm").write_bytes(part)
                said.ReferencedSOPSequence = [item]
        content = json.dumps(said.to_json_dict()).encode()
        self._answer(202 if folder is None else 200, "application/dicom+json", content)

    def _answer(self, status: int, kind: str, content: bytes):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if status in (301, 302):
            self.send_header("Location", "/page/studies")
        self.end_headers()
        self.wfile.write(content)


def _parts(content_type: str, body: bytes) -> Iterator[bytes]:
    """The contents of a multipart/related message of DICOM files."""
    assert content_type.startswith("multipart/related") and "application/dicom" in content_type
    boundary = content_type.split("boundary=")[1].split(";")[0].strip('" ').encode()
    for piece in body.split(b"--" + boundary)[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        assert b"application/dicom" in head
        yield content.removesuffix(b"\r\n")


@contextmanager
def storing(folder: Path) -> Iterator[str]:
    """The address of a server process that stores in a folder, while the block runs."""
    command = [sys.executable, str(Path(__file__)), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.folder = Path(sys.argv[1])
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
