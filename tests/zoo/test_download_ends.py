"""Where a download ends: only what is certainly whole is kept, whatever the server says or leaves out."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jmp_calc.errors import ModelError
from jmp_calc.zoo import cache
from jmp_calc.zoo.download import Expected, download
from jmp_calc.zoo.registry import RegistryEntry
from tests.zoo.test_download import CONTENT, OTHER, empty_home, leftovers

Answer = Callable[["Handler"], None]
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers as the test says, the last way again and again."""

    answers: list[Answer]
    asked: list[str | None]

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Range"))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        with contextlib.suppress(ConnectionError):  # the client had enough
            answer(self)
        self.close_connection = True

    def say(self, body: bytes = b"", *, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a file; ``serve(answer, ...)`` decides how it is sent."""
    empty_home(tmp_path, monkeypatch)
    Handler.answers, Handler.asked = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/model.pt"
    server.shutdown()
    server.server_close()


def serve(*answers: Answer) -> None:
    Handler.answers[:] = answers


def in_chunks(content: bytes, *, ended: bool = True) -> Answer:
    def answer(handler: Handler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.say(Transfer_Encoding="chunked", ETag='"one"')
        for begin in range(0, len(content), 50_000):
            piece = content[begin : begin + 50_000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n" if ended else b"")

    return answer


def unmeasured(content: bytes) -> Answer:
    return lambda handler: handler.say(content)


def endless(handler: Handler) -> None:
    handler.say(Content_Length=str(10**15))
    while True:
        handler.wfile.write(CONTENT)


def endless_chunks(handler: Handler) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.say(Transfer_Encoding="chunked")
    while True:
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(CONTENT), CONTENT))


def measured(content: bytes, length: int, **headers: str) -> Answer:
    return lambda handler: handler.say(content, Content_Length=str(length), **headers)


def ranged(content: bytes, begin: int, total: int, **headers: str) -> Answer:
    headers |= {"Content_Range": f"bytes {begin}-{begin + len(content) - 1}/{total}"}
    return lambda handler: handler.say(content, status=206, Content_Length=str(len(content)), **headers)


N = len(CONTENT)
SHORT: dict[str, tuple[Answer, str]] = {
    "no length": (unmeasured(CONTENT[:60_000]), "does not say how long"),
    "no length, by chance the whole": (unmeasured(CONTENT), "does not say how long"),
    "chunks without the last": (in_chunks(CONTENT[:200_000], ended=False), "ended early"),
    "length too large": (measured(CONTENT[:1000], N), "ended early"),
    "length too small": (measured(CONTENT[:1000], 1000), "no whole model file"),
    "length is no number": (lambda h: h.say(CONTENT, Content_Length="12x"), "does not say how long"),
    "packed": (measured(CONTENT, N, Content_Encoding="gzip"), "packs the file"),
    "a part that was not asked for": (ranged(CONTENT[:1000], 0, N), "another file"),
    "the end only": (ranged(CONTENT[-1000:], N - 1000, N), "another file"),
    "complete, but cut by its publisher": (in_chunks(CONTENT[:200_000]), "no whole model file"),
    "zeros behind the name of an archive": (in_chunks(b"PK\x03\x04" + bytes(9000)), "no whole model file"),
}


@pytest.mark.parametrize("kind", SHORT)
def test_what_may_be_a_part_is_neither_kept_nor_recorded(kind: str, url: str) -> None:
    answer, message = SHORT[kind]
    serve(answer)
    source = RegistryEntry("a test", "MIT", url=url)
    with pytest.raises(ModelError, match=message):
        cache.fetch("m", source)
    folder = cache.cached_path("m", source).parent
    assert not any(name in ("model.pt", "model.pt.json") for name in leftovers(folder))
    for item in folder.iterdir():
        item.unlink()
    serve(measured(CONTENT, N))
    assert cache.fetch("m", source).sha256 == SHA256  # no wrong checksum was remembered


def test_chunked_files_are_whole_with_their_last_chunk(url: str, tmp_path: Path) -> None:
    serve(in_chunks(CONTENT))
    assert download(url, tmp_path / "m.pt", Expected()) == SHA256


@pytest.mark.parametrize(
    "known", [{"size": N}, {"sha256": SHA256}, {"md5": hashlib.md5(CONTENT).hexdigest()}]
)
def test_without_a_length_a_known_size_or_checksum_decides(known: dict, url: str, tmp_path: Path) -> None:
    serve(unmeasured(CONTENT))
    assert download(url, tmp_path / "m.pt", Expected(**known)) == SHA256
    serve(unmeasured(CONTENT[:-1]))
    with pytest.raises(ModelError):
        download(url, tmp_path / "other.pt", Expected(**known))
    assert not (tmp_path / "other.pt").exists()


@pytest.mark.parametrize("answer", [endless, endless_chunks])
def test_endless_answers_end_at_the_bound(answer: Answer, url: str, tmp_path: Path) -> None:
    serve(answer)
    with pytest.raises(ModelError, match="sends more than the 3000000 bytes that are taken of a model"):
        download(url, tmp_path / "m.pt", Expected(max_bytes=3_000_000))
    assert not (tmp_path / "m.pt").exists()
    sizes = [item.stat().st_size for item in tmp_path.iterdir() if item.name.startswith("m.pt")]
    assert max(sizes, default=0) <= 3_000_000


@pytest.mark.parametrize(
    "rest",
    [
        ranged(CONTENT[1000:], 1000, N, ETag='"two"'),
        ranged(CONTENT[1000:-5], 1000, N - 5, ETag='"one"'),
        ranged(CONTENT[900:], 900, N, ETag='"one"'),
        ranged(CONTENT[1000:2000], 1000, N, ETag='"one"'),
    ],
    ids=["another tag", "another length", "another place", "not to the end"],
)
def test_a_rest_of_another_file_is_not_glued_to_the_beginning(rest: Answer, url: str, tmp_path: Path) -> None:
    serve(measured(CONTENT[:1000], N, ETag='"one"'), rest, measured(OTHER, len(OTHER), ETag='"three"'))
    download(url, tmp_path / "m.pt", Expected())
    assert Handler.asked == [None, "bytes=1000-", None]
    assert (tmp_path / "m.pt").read_bytes() == OTHER


def test_a_rest_of_the_same_file_completes_it(url: str, tmp_path: Path) -> None:
    begun = measured(CONTENT[:1000], N, ETag='"one"')
    serve(begun, ranged(CONTENT[1000:], 1000, N, ETag='"one"'))
    assert download(url, tmp_path / "m.pt", Expected()) == SHA256


@pytest.mark.parametrize("notes", [b"", b"[1]", b'{"validator": 3}', b"\xff", b"[" * 9000, b"x" * 10**6])
def test_damaged_notes_mean_a_new_beginning(notes: bytes, url: str, tmp_path: Path) -> None:
    (tmp_path / "m.pt.part").write_bytes(CONTENT[:1000])
    (tmp_path / "m.pt.part.json").write_bytes(notes)
    serve(measured(CONTENT, N))
    assert download(url, tmp_path / "m.pt", Expected()) == SHA256
    assert Handler.asked == [None]
