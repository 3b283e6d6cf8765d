"""A file over HTTP from a server that does everything that servers do."""

import gzip
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vreid.errors import InputError
from vreid.fetch.download import Patience, download, name_of, obtain

CONTENT = bytes(range(256)) * 3000  # 768 kB
DIGEST = hashlib.sha256(CONTENT).hexdigest()
HASTY = Patience(tries=3, pause=0.0, stall=0.5)


class Server(ThreadingHTTPServer):
    """The last step of the path says what befalls a request; `requests` are (path, range) in their order."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str | None]] = []
        self.content, self.tag = CONTENT, '"first"'

    def address(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{behaviour}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        getattr(self, self.path.strip("/").replace("-", "_"))(asked)

    def log_message(self, *_):
        pass

    def answer(self, body: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body) if length is None else length), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def rest(self, asked: str | None, most: int | None = None, **headers: str) -> None:
        """What a sound server sends: the file, or its rest, cut off after `most` bytes."""
        content = self.server.content
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
        if not asked or self.headers["If-Range"] != self.server.tag:
            return self.answer(content[:most], length=len(content), ETag=self.server.tag, **headers)
        body = content[start:]
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.answer(body[:most], 206, len(body), Content_Range=span, ETag=self.server.tag, **headers)

    def sound(self, asked):
        self.rest(asked)

    def truncating(self, asked):
        self.rest(asked, most=300_000)

    def truncating_without_ranges(self, asked):
        self.answer(CONTENT[:300_000], length=len(CONTENT))

    def truncating_once_without_ranges(self, asked):
        self.answer(CONTENT[: 300_000 if len(self.server.requests) == 1 else None], length=len(CONTENT))

    def stalling(self, asked):
        self.rest(asked, most=0 if len(self.server.requests) > 1 else 100_000)
        time.sleep(1.5)

    def stalling_once(self, asked):
        if len(self.server.requests) > 1:
            return self.rest(asked)
        self.rest(asked, most=100_000)
        time.sleep(1.5)

    def slow(self, asked):
        if asked:
            return self.rest(asked)
        self.rest(asked, most=100_000)
        time.sleep(20)

    def redirecting(self, asked):
        self.answer(b"", 302, Location="/sound")

    def redirecting_for_ever(self, asked):
        self.answer(b"", 302, Location="/redirecting-for-ever")

    def redirecting_to_a_file(self, asked):
        self.answer(b"", 302, Location="file:///etc/hostname")

    def failing_once(self, asked):
        self.answer(b"", 503) if len(self.server.requests) == 1 else self.rest(asked)

    def failing(self, asked):
        self.answer(b"", 500)

    def forbidden(self, asked):
        self.answer(b"", 403)

    def gone(self, asked):
        self.answer(b"", 404)

    def promising_too_little(self, asked):
        self.answer(CONTENT, length=1000)

    def without_length(self, asked):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CONTENT)

    def compressed(self, asked):
        self.answer(gzip.compress(CONTENT), Content_Encoding="gzip")

    def a_web_page(self, asked):
        self.answer(b"\n<!DOCTYPE html><html>Confirm that you want to download this</html>")

    def a_login(self, asked):
        self.answer(b"Who are you?", Content_Type="text/html; charset=utf-8")

    def another_piece(self, asked):
        if not asked:
            return self.rest(asked, most=300_000)
        self.answer(CONTENT[:1000], 206, Content_Range=f"bytes 0-999/{len(CONTENT)}", ETag=self.server.tag)

    def deaf(self, asked):
        """To If-Range."""
        self.headers.replace_header("If-Range", self.server.tag) if asked else None
        self.rest(asked)

    def no_content(self, asked):
        self.answer(b"", 204)

    def beyond_the_end(self, asked):
        self.answer(b"", 416) if asked else self.rest(asked, most=300_000 if len(self.server.requests) == 1 else None)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()


def ranges(server: Server) -> list[int | None]:
    return [int(asked.removeprefix("bytes=")[:-1]) if asked else None for _, asked in server.requests]


@pytest.mark.parametrize(
    "behaviour",
    [
        "sound",
        "truncating",
        "truncating-once-without-ranges",
        "stalling-once",
        "redirecting",
        "failing-once",
        "without-length",
        "beyond-the-end",
    ],
)
def test_the_file_comes_whole_in_spite_of(behaviour, server, tmp_path):
    path = tmp_path / "new" / "file"
    download(server.address(behaviour), path, DIGEST, HASTY)
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_it_goes_on_where_it_broke_off(server, tmp_path):
    download(server.address("truncating"), tmp_path / "file", "", HASTY)
    assert ranges(server) == [None, 300_000, 600_000]


def begun(path: Path, address: str, content: bytes, tag: str = '"first"') -> Path:
    """A file of which some has come."""
    path.with_name(f".{path.name}.part").write_bytes(content)
    note = {"address": address, "validator": tag, "total": len(CONTENT)}
    path.with_name(f".{path.name}.part.json").write_text(json.dumps(note))
    return path


def test_what_had_come_whole_before_a_kill_is_not_asked_for_again(server, tmp_path):
    address = server.address("sound")
    path = begun(tmp_path / "file", address, CONTENT)
    download(address, path, DIGEST, HASTY)
    assert path.read_bytes() == CONTENT and not server.requests


def test_a_server_that_resumes_another_version_is_not_believed(server, tmp_path):
    address = server.address("deaf")
    path = begun(tmp_path / "file", address, b"old" * 1000, '"older"')
    download(address, path, DIGEST, HASTY)
    assert path.read_bytes() == CONTENT and ranges(server) == [3000, None]


@pytest.mark.parametrize(
    "behaviour, said",
    [
        ("truncating-without-ranges", "broke off after 300,000 of 768,000 bytes; tried 3 times in a row"),
        ("stalling", "timed out"),
        ("redirecting-for-ever", "infinite loop"),
        ("redirecting-to-a-file", "not allowed"),
        ("failing", "the server answers 500"),
        ("forbidden", r"refuses to give the file \(status 403\)"),
        ("gone", r"there is no such file any more \(status 404\)"),
        ("promising-too-little", f"but {DIGEST} is that of the file looked for"),
        ("compressed", "the server sends the file in the encoding 'gzip'"),
        ("a-web-page", "a web page came, and not the file"),
        ("another-piece", "the server sends a piece of another file, or another piece"),
        ("no-content", r"the server sends no file \(status 204\)"),
    ],
)
def test_one_clear_message_and_no_file_after(behaviour, said, server, tmp_path):
    address, path = server.address(behaviour), tmp_path / "file"
    with pytest.raises(InputError, match=said) as error:
        download(address, path, DIGEST, HASTY)
    assert address in str(error.value)
    assert not path.exists()


@pytest.mark.parametrize("behaviour", ["forbidden", "gone"])
def test_a_refusal_is_not_asked_again(behaviour, server, tmp_path):
    with pytest.raises(InputError):
        download(server.address(behaviour), tmp_path / "file", "", HASTY)
    assert len(server.requests) == 1


def test_a_server_that_is_not_there(tmp_path):
    with Server() as server:
        address = server.address("sound")
    with pytest.raises(InputError, match="cannot be reached"):
        download(address, tmp_path / "file", "", HASTY)


def test_a_later_call_goes_on(server, tmp_path):
    path = tmp_path / "file"
    with pytest.raises(InputError):
        download(server.address("stalling"), path, "", Patience(tries=1, pause=0, stall=0.3))
    assert not path.exists()
    server.requests.clear()
    address = server.address("stalling")  # the note is of this address
    Handler.stalling, before = Handler.sound, Handler.stalling
    try:
        download(address, path, DIGEST, HASTY)
    finally:
        Handler.stalling = before
    assert path.read_bytes() == CONTENT and ranges(server) == [100_000]


def test_a_file_that_has_changed_meanwhile_is_fetched_from_its_beginning(server, tmp_path):
    path = begun(tmp_path / "file", server.address("sound"), CONTENT[:3000])
    server.tag, server.content = '"second"', CONTENT[::-1]
    download(server.address("sound"), path, "", HASTY)
    assert path.read_bytes() == CONTENT[::-1] and ranges(server) == [3000]


def test_a_web_page_in_the_place_of_the_rest_takes_nothing_away(server, tmp_path):
    path = begun(tmp_path / "file", server.address("a-login"), CONTENT[:3000])
    with pytest.raises(InputError, match=r"a web page came, and not the file.*What had come is kept"):
        download(server.address("a-login"), path, "", HASTY)
    assert (tmp_path / ".file.part").read_bytes() == CONTENT[:3000] and not path.exists()


def test_a_killed_download_leaves_no_file_and_goes_on(server, tmp_path):
    path, address = tmp_path / "file", server.address("slow")
    command = [sys.executable, "-m", "vreid", "obtain", "--source", address, "--out", str(path)]
    process = subprocess.Popen(command, env=os.environ)
    part = tmp_path / ".file.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size == 100_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not path.exists()
    assert subprocess.run(command, env=os.environ).returncode == 0
    assert path.read_bytes() == CONTENT and ranges(server) == [None, 100_000]


def test_a_wrong_file_is_thrown_away_and_the_right_one_kept(server, tmp_path):
    path = tmp_path / "file"
    with pytest.raises(InputError, match="SHA-256"):
        download(server.address("sound"), path, "0" * 8, HASTY)
    assert not list(tmp_path.iterdir())
    download(server.address("sound"), path, DIGEST[:8], HASTY)
    server.requests.clear()
    download(server.address("sound"), path, DIGEST, HASTY)
    assert not server.requests


def test_a_dead_address_says_which_key_names_it(server, tmp_path):
    words = ["obtain", "--source", server.address("gone"), "--key", "imagenet.from", "--out", tmp_path / "file"]
    done = subprocess.run([sys.executable, "-m", "vreid", *map(str, words)], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr.rstrip().endswith("(imagenet.from names it)")
    assert not list(tmp_path.iterdir())


def test_a_file_on_this_machine_is_copied(tmp_path):
    source = tmp_path / "here"
    source.write_bytes(CONTENT)
    obtain(str(source), tmp_path / "there", DIGEST)
    assert (tmp_path / "there").read_bytes() == CONTENT
    with pytest.raises(InputError, match="no such file"):
        obtain(str(tmp_path / "nowhere"), tmp_path / "there")
    with pytest.raises(InputError, match="SHA-256"):
        obtain(str(source), tmp_path / "third", "1234")
    assert not (tmp_path / "third").exists()


def test_names_of_addresses():
    assert name_of("https://host/a/b.zip?download=1#x") == "b.zip"
    assert name_of("https://host/") == "download"


def test_what_does_not_fit_is_not_begun(server, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(InputError, match="768,000 bytes, but 1,000 are free"):
        download(server.address("sound"), tmp_path / "file", "", HASTY)


def test_a_path_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(OSError, match="taken"):
        download(server.address("sound"), Path(tmp_path / "taken" / "file"), "", HASTY)
