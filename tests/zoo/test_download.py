"""Downloads from a server on 127.0.0.1: interrupted, wrong, doubled (faults 66, 67)."""

from __future__ import annotations

import hashlib
import io
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jmp_calc.errors import ModelError
from jmp_calc.zoo import cache
from jmp_calc.zoo.download import Expected, download
from jmp_calc.zoo.registry import RegistryEntry


def archive(numbers: bytes) -> bytes:
    """A whole file as torch.save writes it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, data in (("data.pkl", b"\x80\x02}."), ("byteorder", b"little"), ("data/0", numbers)):
            file.writestr(f"m/{name}", data)
    return packed.getvalue()


CONTENT = archive(bytes(range(256)) * 3000)
OTHER = archive(bytes(50_000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT at /model.pt; the attributes make it misbehave."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.kind = "application/octet-stream"
        self.cut_after: list[int] = []
        """Bytes after which the next answers break off."""
        self.ranges = True
        self.status = 200
        self.moved_to = "http://example.org/model.pt"
        self.etag: str | None = '"one"'
        self.requests: list[str | None] = []
        """Range header of every request."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what many tests are about; a traceback here would stand in the command's
        output."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/model.pt"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append(wanted)
        if server.status != 200:
            self.send_error(server.status)
            return
        if self.path == "/moved.pt":
            self.send_response(302)
            self.send_header("Location", server.moved_to)
            self.end_headers()
            return
        start = 0
        if wanted and server.ranges and self.headers.get("If-Range") == server.etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        body = server.content[start:]
        self.send_header("Content-Type", server.kind)
        self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        if start:
            total = len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        self.wfile.write(body[: server.cut_after.pop(0)] if server.cut_after else body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    """A server on 127.0.0.1 while the block runs."""
    running = Server()
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of models, no proxy."""
    monkeypatch.setenv("JMP_CALC_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("JMP_CALC_OFFLINE", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return empty_home(tmp_path, monkeypatch)


def entry(server: Server, *, size: int | None = None, sha256: str | None = None) -> RegistryEntry:
    return RegistryEntry("a test", "CC-BY-NC-4.0", url=server.url, size=size, sha256=sha256)


def leftovers(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir() if not item.name.endswith(".lock"))


def test_download_is_complete_and_leaves_no_parts(server: Server, home: Path) -> None:
    file = cache.fetch("m", entry(server, size=len(CONTENT), sha256=SHA256))
    assert file.path.read_bytes() == CONTENT
    assert file.sha256 == SHA256
    assert leftovers(file.path.parent) == ["model.pt", "model.pt.json"]
    cache.fetch("m", entry(server))
    assert len(server.requests) == 1


def test_broken_connection_is_resumed_within_one_call(server: Server, tmp_path: Path, home: Path) -> None:
    server.cut_after = [100_000, 200_000]
    assert download(server.url, tmp_path / "m.pt", Expected(sha256=SHA256)) == SHA256
    assert server.requests == [None, "bytes=100000-", "bytes=300000-"]


def test_interrupted_download_is_resumed_by_the_next_call(server: Server, tmp_path: Path, home: Path) -> None:
    server.cut_after = [1000, 1000, 1000]
    with pytest.raises(ModelError, match=r"3000 of \d+ bytes.*goes on where it stopped"):
        download(server.url, tmp_path / "m.pt", Expected())
    assert not (tmp_path / "m.pt").exists()
    assert download(server.url, tmp_path / "m.pt", Expected()) == SHA256
    assert server.requests[-1] == "bytes=3000-"


def test_a_changed_file_is_not_glued_to_the_old_beginning(server: Server, tmp_path: Path, home: Path) -> None:
    server.cut_after = [1000, 1000, 1000]
    with pytest.raises(ModelError):
        download(server.url, tmp_path / "m.pt", Expected())
    server.etag, server.content = '"two"', OTHER
    download(server.url, tmp_path / "m.pt", Expected())
    assert (tmp_path / "m.pt").read_bytes() == server.content


@pytest.mark.parametrize("ranges, etag", [(False, '"one"'), (True, None)])
def test_servers_without_ranges_or_validators_start_again(
    server: Server, tmp_path: Path, home: Path, ranges: bool, etag: str | None
) -> None:
    server.ranges, server.etag, server.cut_after = ranges, etag, [1000]
    assert download(server.url, tmp_path / "m.pt", Expected()) == SHA256


def test_wrong_checksum_is_refused_and_removed(server: Server, home: Path) -> None:
    with pytest.raises(ModelError, match="wrong checksum"):
        cache.fetch("m", entry(server, sha256="0" * 64))
    assert leftovers(home / "models" / "m") == []


def test_wrong_size_is_refused(server: Server, home: Path) -> None:
    with pytest.raises(ModelError, match="this model has 10"):
        cache.fetch("m", entry(server, size=10))


@pytest.mark.parametrize(
    "kind, content, message",
    [
        ("text/html", b"<html>quota exceeded</html>", "web page"),
        ("application/octet-stream", b"  <!DOCTYPE html>", "web page"),
        ("application/octet-stream", b'{"error": "expired"}', "something else"),
    ],
)
def test_pages_instead_of_files_are_refused(
    server: Server, home: Path, kind: str, content: bytes, message: str
) -> None:
    server.kind, server.content = kind, content
    with pytest.raises(ModelError, match=message):
        cache.fetch("m", entry(server))
    assert not (home / "models" / "m" / "model.pt").exists()


def test_server_errors_and_dead_servers_are_named(server: Server, tmp_path: Path, home: Path) -> None:
    server.status = 403
    with pytest.raises(ModelError, match=r"403 Forbidden.*models add"):
        download(server.url, tmp_path / "m.pt", Expected())
    with pytest.raises(ModelError, match="No connection"):
        download("http://127.0.0.1:9/model.pt", tmp_path / "m.pt", Expected())


def test_only_https_except_on_this_machine(server: Server, tmp_path: Path, home: Path) -> None:
    with pytest.raises(ModelError, match="https only"):
        download("http://example.org/model.pt", tmp_path / "m.pt", Expected())
    with pytest.raises(ModelError, match="https only"):
        download(server.url.replace("model", "moved"), tmp_path / "m.pt", Expected())


@pytest.mark.parametrize("address", ["https://[bad", "https://host:port/x", "https://" + "a" * 300, ""])
def test_addresses_that_are_none_are_a_sentence(
    server: Server, tmp_path: Path, home: Path, address: str
) -> None:
    server.moved_to = address
    for url in (address, server.url.replace("/model.pt", "/moved.pt")):
        with pytest.raises(ModelError) as error:
            download(url, tmp_path / "f", Expected())
        assert "\n" not in error.value.fact


def test_an_empty_file_is_no_file(server: Server, tmp_path: Path, home: Path) -> None:
    server.content = b""
    with pytest.raises(ModelError, match="an empty file"):
        download(server.url, tmp_path / "f", Expected())


def test_two_downloads_at_once_fetch_once(server: Server, home: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        files = list(pool.map(lambda _: cache.fetch("m", entry(server)), range(4)))
    assert {file.sha256 for file in files} == {SHA256}
    assert len(server.requests) == 1


def test_first_hash_is_recorded_and_checked_ever_after(server: Server, home: Path) -> None:
    source = entry(server)
    cache.fetch("m", source)
    cache.remove("m", source)
    server.content = OTHER
    with pytest.raises(ModelError, match="wrong checksum"):
        cache.fetch("m", source)
    cache.forget_hash(source)
    assert cache.fetch("m", source).path.read_bytes() == server.content


def test_changed_cached_files_are_noticed(server: Server, home: Path) -> None:
    source = entry(server)
    path = cache.fetch("m", source).path
    path.write_bytes(CONTENT[:-1] + b"y")
    with pytest.raises(ModelError, match="not the one that was recorded"):
        cache.checked("m", source)


def test_offline_never_asks_the_server(server: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JMP_CALC_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"JMP_CALC_OFFLINE.*models add m PATH"):
        cache.fetch("m", entry(server))
    assert server.requests == []


def test_cache_that_cannot_be_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("JMP_CALC_HOME", str(blocked))
    with pytest.raises(ModelError, match="JMP_CALC_HOME"):
        cache.fetch("m", entry(server))
