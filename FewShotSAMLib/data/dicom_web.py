"""A DICOM file sent to a DICOMweb server (STOW-RS, PS3.18 10.5) with dicomweb-client."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset
    from requests import Response, Session

TOKEN = "FEWSHOTSAM_DICOMWEB_TOKEN"  # variable of the environment
_PATIENCE = 60.0  # seconds for a connection, and for an answer


def check_server(url: str) -> str:
    """The address of a DICOMweb service that a file can be sent to.

    Raises:
        InputError: it is no address, holds a password, or dicomweb-client is not installed.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if known and (parts.username is not None or parts.password is not None):
        raise InputError(
            f"a DICOMweb address with a name and password in it would be seen by others; leave "
            f"them out and set {TOKEN}, or use a .netrc file"
        )
    if not known or parts.query or parts.fragment:
        raise InputError(
            f"{url}: is no address of a DICOMweb server; use one such as https://host/dicom-web"
        )
    try:
        import dicomweb_client  # noqa: F401
    except ModuleNotFoundError:
        raise InputError(
            f"{url}: sending to a DICOMweb server needs dicomweb-client: "
            'pip install "fewshotsam[dicomweb]"'
        ) from None
    return url


class NotSent(InputError):
    """A file was written, but a server does not have it.

    Attributes:
        why: what the server did, without the names of file and server.
        answered: whether there was an answer at all.
    """

    def __init__(self, text: str, why: str, answered: bool) -> None:
        super().__init__(text)
        self.why, self.answered = why, answered


def address(url: str) -> str:
    """The address of a service as it is used, whether it was written with a "/" at its end."""
    return url.rstrip("/")


def store(path: str | Path, url: str) -> None:
    """Send a DICOM file to a server. The file stays as it is, whatever comes of it.

    A server that asks for more gets the token in FEWSHOTSAM_DICOMWEB_TOKEN ("Authorization:
    Bearer"), or what a .netrc file has for it; neither is shown or logged.

    Args:
        url: of the service, below which "/studies" lies.

    Raises:
        InputError: what `check_server` raises.
        NotSent: the server cannot be reached, or it refuses.
    """
    import pydicom
    import requests
    from dicomweb_client import DICOMwebClient

    url = address(check_server(url))
    client = DICOMwebClient(url, session=_session(), timeout=_PATIENCE)
    client.set_http_retry_params(retry=False)
    try:
        answer = client.store_instances([pydicom.dcmread(path)])
    except (_NoDicomWeb, requests.exceptions.InvalidJSONError, KeyError, TypeError):
        why = (
            "did not answer as a DICOMweb server does; look at the address, and whether the file "
            "arrived"
        )
        raise NotSent(f"{path} was written and sent, but {url} {why}", why, True) from None
    except (requests.RequestException, ValueError) as problem:
        why, answered = _reason(problem), getattr(problem, "response", None) is not None
        raise NotSent(f"{path} was written, but not sent: {url} {why}", why, answered) from None
    if answer.get("FailedSOPSequence"):
        why = f"did not store it ({_failure(answer)})"
        raise NotSent(f"{path} was written, but {url} {why}", why, True)


def _session() -> Session:
    """One that follows no redirection, in which a POST would become a GET that stores nothing."""
    import requests

    session = requests.Session()
    session.max_redirects = 0
    session.hooks["response"].append(_refuse_pages)
    token = os.environ.get(TOKEN)
    if token:
        session.headers["Authorization"] = f"Bearer {token}"
    return session


class _NoDicomWeb(Exception):
    """What answered is a web page, which the client would take for an empty answer."""


def _refuse_pages(response: Response, **_kept: Any) -> None:
    if response.status_code == 200 and "html" in response.headers.get("Content-Type", ""):
        raise _NoDicomWeb


def _reason(problem: Exception) -> str:
    """Why, without what a library says of its objects."""
    import requests

    if isinstance(problem, requests.Timeout):
        return f"did not answer within {_PATIENCE:.0f} s"
    if isinstance(problem, requests.TooManyRedirects):
        return "sends to another address; use that one"
    if getattr(problem, "response", None) is not None:
        return f"answered {_answered(problem.response)}"
    if isinstance(problem, requests.exceptions.SSLError):
        return "has no certificate that this machine trusts"
    return "cannot be reached; look at the address, and whether the server runs"


def _answered(response: Response) -> str:
    hint = f"; set {TOKEN}" if response.status_code in (401, 403) else ""
    return f"{response.status_code} {' '.join(str(response.reason).split())}".rstrip() + hint


def _failure(answer: Dataset) -> str:
    """The reason's code as PS3.18 table I.2-2 has it."""
    code = answer.FailedSOPSequence[0].get("FailureReason")
    return "no reason given" if code is None else f"failure reason {int(code):04X}H"
