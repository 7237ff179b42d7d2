"""Downloads against a real server that breaks, lies, redirects and dawdles."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from file_server import Answer, serving

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.weights.downloads import (
    DownloadCancelled,
    DownloadError,
    Patience,
    Wanted,
    download,
    partial_files,
)
from FewShotSAMLib.weights.file_lock import locked

ROOT = Path(__file__).resolve().parents[3]
CONTENT = np.random.default_rng(0).bytes(700_001)
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(attempts=4, first_wait=0.01, timeout=20.0)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """This machine is reached directly, whatever proxy it uses for others."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server():
    with serving() as running:
        running.files["/folder/weights.pth"] = CONTENT
        yield running


@pytest.fixture
def target(tmp_path):
    return tmp_path / "Gewichte für Ärzte" / "weights.pth"


def wanted(server, target, size=SIZE, sha256=SHA256):
    return Wanted(server.url + "/folder/weights.pth", target, size, sha256)


def get(server, target, size=SIZE, sha256=SHA256, **options):
    return download(wanted(server, target, size, sha256), **{"patience": QUICK, **options})


def assert_only_the_file(target):
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def assert_not_there(target, partial_bytes):
    partial, _ = partial_files(target)
    assert not target.exists()
    assert (partial.stat().st_size if partial.exists() else 0) == partial_bytes


def test_a_file_comes_whole_and_progress_reaches_its_end(server, target):
    steps = []
    assert get(server, target, progress=lambda *step: steps.append(step)) == SHA256
    assert_only_the_file(target)
    assert steps[0] == (0, len(CONTENT)) and steps[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


def test_a_file_that_is_there_is_not_asked_for_again(server, target):
    get(server, target)
    get(server, target)
    assert len(server.requests) == 1


def test_a_damaged_file_is_replaced(server, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT[:-1] + b"x")
    get(server, target)
    assert_only_the_file(target)


def test_broken_connections_are_resumed_where_they_broke(server, target):
    server.answers = [Answer(stop_after=200_000), Answer(stop_after=300_000)]
    told = []
    assert get(server, target, tell=told.append) == SHA256
    assert_only_the_file(target)
    assert server.ranges() == ["", "bytes=200000-", "bytes=500000-"]
    assert server.requests[1][1]["If-Range"] == server.etag
    assert len(told) == 2 and "200000 of 700001" in told[0]


def test_a_later_call_goes_on_from_what_an_earlier_one_left(server, target):
    server.answers = [Answer(stop_after=200_000)] + [Answer(status=503)] * 3
    with pytest.raises(DownloadError, match="503"):
        get(server, target, patience=Patience(3, 0.01))
    assert_not_there(target, 200_000)
    server.answers.clear()
    get(server, target)
    assert_only_the_file(target)
    assert server.ranges()[-1] == "bytes=200000-"


def test_a_connection_that_always_breaks_is_given_up(server, target):
    server.answers = [Answer(stop_after=0)] * 50
    with pytest.raises(DownloadError, match=r"ended after 0 of 700001 bytes \(tried 4 times\)"):
        get(server, target)
    assert len(server.requests) == 4
    assert_not_there(target, 0)


def test_progress_is_worth_further_attempts(server, target):
    server.files["/folder/weights.pth"] = big = CONTENT * 10
    server.answers = [Answer(stop_after=1_200_000)] * 5
    digest = hashlib.sha256(big).hexdigest()
    assert get(server, target, len(big), digest, patience=Patience(2, 0.01)) == digest
    assert target.read_bytes() == big


def test_a_server_without_ranges_starts_again(server, target):
    server.answers = [Answer(stop_after=300_000), Answer(ranges=False)]
    get(server, target)
    assert_only_the_file(target)
    assert server.ranges()[1] == "bytes=300000-"


def test_a_server_that_continues_at_the_wrong_place_is_not_believed(server, target):
    server.answers = [Answer(stop_after=300_000), Answer(shift=5)]
    get(server, target)
    assert_only_the_file(target)
    assert server.ranges() == ["", "bytes=300000-", ""]


def test_a_file_that_changed_on_the_server_is_not_joined_to_its_old_half(server, target):
    server.answers = [Answer(stop_after=300_000)] + [Answer(status=503)]
    with pytest.raises(DownloadError):
        get(server, target, sha256="", patience=Patience(2, 0.01))
    server.files["/folder/weights.pth"] = changed = CONTENT[::-1]
    server.etag = '"version 2"'
    assert get(server, target, sha256="") == hashlib.sha256(changed).hexdigest()
    assert target.read_bytes() == changed


def test_without_hash_and_validator_nothing_is_joined(server, target):
    server.etag = None
    server.answers = [Answer(stop_after=300_000)]
    get(server, target, sha256="")
    assert_only_the_file(target)
    assert server.ranges() == ["", ""]


def test_a_partial_file_longer_than_the_servers_is_dropped(server, target):
    server.answers = [Answer(stop_after=300_000)]
    with pytest.raises(DownloadError):
        get(server, target, patience=Patience(1, 0.01))
    partial, _ = partial_files(target)
    partial.write_bytes(CONTENT + b"more")
    get(server, target)
    assert_only_the_file(target)


def test_a_whole_partial_file_needs_no_network(server, target):
    server.answers = [Answer(stop_after=300_000)]
    with pytest.raises(DownloadError):
        get(server, target, patience=Patience(1, 0.01))
    partial, _ = partial_files(target)
    partial.write_bytes(CONTENT)
    asked = len(server.requests)
    get(server, target)
    assert_only_the_file(target)
    assert len(server.requests) == asked


def test_wrong_bytes_are_deleted_and_both_hashes_told(server, target):
    wrong = b"x" + CONTENT[1:]
    server.answers = [Answer(body=wrong)]
    with pytest.raises(DownloadError) as problem:
        get(server, target)
    assert SHA256 in str(problem.value)
    assert hashlib.sha256(wrong).hexdigest() in str(problem.value)
    assert list(target.parent.glob("weights.pth*")) in ([], [target.with_name("weights.pth.lock")])


@pytest.mark.parametrize("offered", [700_000, 700_002, 12])
def test_another_length_than_expected_is_refused_before_it_comes(server, target, offered):
    server.answers = [Answer(headers={"Content-Length": str(offered)})]
    with pytest.raises(DownloadError, match=f"offers {offered} bytes, expected are 700001"):
        get(server, target)
    assert_not_there(target, 0)
    assert len(server.requests) == 1


def test_a_server_that_promises_more_than_it_sends_is_a_broken_connection(server, target):
    server.answers = [Answer(headers={"Content-Length": "800000"})] * 4
    with pytest.raises(DownloadError, match="ended after 700001 of 800000"):
        get(server, target, size=None, patience=Patience(1, 0.01))
    assert not target.exists()


def test_chunks_without_a_length(server, target):
    server.answers = [Answer(chunked=True)]
    get(server, target, size=None)
    assert_only_the_file(target)


def test_chunks_that_break_off_are_resumed(server, target):
    server.answers = [Answer(chunked=True, stop_after=200_000)]
    get(server, target, size=None)
    assert_only_the_file(target)
    assert server.ranges()[1] == "bytes=200000-"


def test_what_cannot_be_checked_is_not_taken(server, target):
    server.answers = [Answer(chunked=True)]
    with pytest.raises(DownloadError, match="does not tell its size"):
        get(server, target, size=None, sha256="")
    assert_not_there(target, 0)


def test_more_than_expected_in_chunks(server, target):
    server.answers = [Answer(chunked=True, body=CONTENT + b"more")]
    with pytest.raises(DownloadError, match="more than the 700001"):
        get(server, target)
    assert_not_there(target, 0)


def test_a_login_page_is_not_a_file(server, target):
    page = b"<html>Please log in</html>"
    server.answers = [Answer(body=page, headers={"Content-Type": "text/html; charset=utf-8"})]
    with pytest.raises(DownloadError, match="web page"):
        get(server, target, size=None, sha256="")
    assert_not_there(target, 0)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_final_answer_is_not_asked_for_twice(server, target, status):
    server.answers = [Answer(status=status)] * 9
    with pytest.raises(DownloadError, match=f"weights.pth: the server answers {status}"):
        get(server, target)
    assert len(server.requests) == 1
    assert_not_there(target, 0)


def test_a_busy_server_is_asked_again_when_it_says(server, target):
    server.answers = [Answer(status=503), Answer(status=429, headers={"Retry-After": "1"})]
    told = []
    get(server, target, tell=told.append)
    assert_only_the_file(target)
    assert "trying again in 0 s" in told[0] and "trying again in 1 s" in told[1]


def test_redirects_are_followed_and_ranges_with_them(server, target):
    server.files["/elsewhere"] = CONTENT
    there = Answer(status=302, headers={"Location": "/elsewhere"})
    server.answers = [there, Answer(stop_after=300_000), there]
    get(server, target)
    assert_only_the_file(target)
    assert [path for path, _ in server.requests] == ["/folder/weights.pth", "/elsewhere"] * 2
    assert server.ranges()[-1] == "bytes=300000-"


@pytest.mark.parametrize("place", ["file:///etc/hosts", "ftp://127.0.0.1/x"])
def test_redirects_away_from_http_are_not(server, target, place):
    server.answers = [Answer(status=302, headers={"Location": place})]
    with pytest.raises(DownloadError, match="not followed|not allowed"):
        get(server, target)
    assert_not_there(target, 0)


def test_redirects_in_a_circle_end(server, target):
    server.answers = [Answer(status=302, headers={"Location": "/folder/weights.pth"})] * 50
    with pytest.raises(DownloadError, match="302"):
        get(server, target)


def test_proxies_are_used(server, target, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    url = "http://weights.invalid/weights.pth"
    server.files[url] = CONTENT
    download(Wanted(url, target, SIZE, SHA256), patience=QUICK)
    assert_only_the_file(target)
    assert server.requests[0][0] == url


def test_compressed_answers_are_refused(server, target):
    server.answers = [Answer(headers={"Content-Encoding": "gzip"})]
    with pytest.raises(DownloadError, match="compressed"):
        get(server, target)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/hosts", "https://"),
        ("weights.pth", "https://"),
        ("http://[::1/weights", "address"),
        ("http://127.0.0.1:99999/weights", "address|port|connection"),
        ("http://127.0.0.1/a b", "address"),
    ],
)
def test_addresses_that_are_none(target, url, reason):
    with pytest.raises(DownloadError, match=reason):
        download(Wanted(url, target), patience=QUICK)
    assert not target.exists()


def test_nobody_there_is_said_at_once(server, target):
    with serving() as gone:
        pass
    told = []
    with pytest.raises(DownloadError, match="no connection"):
        get(gone, target, patience=Patience(attempts=9, first_wait=5), tell=told.append)
    assert told == [], "it is not tried again"


def test_a_server_that_falls_silent_is_given_up_and_resumed(server, target):
    server.answers = [Answer(pause=3.0, piece=100_000)]
    get(server, target, patience=Patience(20, 0.01, timeout=0.5))
    assert_only_the_file(target)
    assert server.ranges()[1] == "bytes=100000-"


def test_cancelling_keeps_what_has_come(server, target):
    server.answers = [Answer(pause=0.05, piece=50_000)]
    cancel = threading.Event()
    with pytest.raises(DownloadCancelled):
        get(
            server, target, cancel=cancel,
            progress=lambda done, _: cancel.set() if done >= 100_000 else None,
        )  # fmt: skip
    partial, _ = partial_files(target)
    kept = partial.stat().st_size
    assert 100_000 <= kept < len(CONTENT) and not target.exists()
    get(server, target)
    assert_only_the_file(target)
    assert server.ranges()[-1] == f"bytes={kept}-"


def test_cancelling_ends_the_wait_between_attempts(server, target):
    server.answers = [Answer(status=503)] * 9
    cancel = threading.Event()
    with pytest.raises(DownloadCancelled):  # else the wait would outlast this test's limit
        get(server, target, cancel=cancel, tell=lambda _: cancel.set(), patience=Patience(5, 1e5))
    assert len(server.requests) == 1


def test_no_space(server, target):
    size = 10**17
    server.answers = [Answer(headers={"Content-Length": str(size)})]
    with pytest.raises(DownloadError, match="make space"):
        get(server, target, size=size)
    assert_not_there(target, 0)


def test_a_folder_that_is_a_file(server, target):
    target.parent.parent.joinpath(target.parent.name).write_text("in the way", encoding="utf-8")
    with pytest.raises(DownloadError, match="cannot be written"):
        get(server, target)


def test_errors_are_one_line_and_bad_input(server, target):
    server.answers = [Answer(status=404)]
    with pytest.raises(InputError) as problem:
        get(server, target)
    assert "\n" not in str(problem.value)


CHILD = """
import sys
from pathlib import Path
from FewShotSAMLib.weights.downloads import Wanted, download
url, target, size, sha256 = sys.argv[1:]
print(download(Wanted(url, Path(target), int(size), sha256)))
"""


def test_several_processes_want_the_same_file(server, target):
    server.answers = [Answer(pause=0.1, piece=100_000)]
    command = [sys.executable, "-c", CHILD, server.url + "/folder/weights.pth", str(target),
               str(len(CONTENT)), SHA256]  # fmt: skip
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8")
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=600)[0].strip() for process in processes]
    assert outputs == [SHA256] * 3
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_lock_is_waited_for_and_the_waiting_can_be_cancelled(tmp_path):
    path, cancel = tmp_path / "a.lock", threading.Event()
    with locked(path, lambda: None, threading.Event()) as first:
        assert first
        with locked(path, cancel.set, cancel) as second:
            assert not second
    told = []
    with locked(path, lambda: told.append(1), threading.Event()) as third:
        assert third and not told
