"""One file over HTTP(S): resumable, locked against other processes, verified, and visible only when complete.

The data grow in ``<target>.part``; an interrupted download goes on from there (``Range`` with ``If-Range``).
A file counts as complete only if something says so: a stated length, the last chunk of a chunked answer, or a
size or checksum that is known beforehand.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..io.regular import open_regular, read_bounded

CHUNK = 1024 * 1024
TIMEOUT_S = 60.0
ATTEMPTS = 3
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
MAX_BYTES = 16 * 1024**3
"""Of a file whose size is not known beforehand; jmp-l has 3.7 GB."""
_LOST = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError)
"""How a connection that does not come about, or breaks off, shows itself."""
_BEGIN = 512
"""Bytes from which the kind of a file is told."""

Progress = Callable[[int, int | None], None]
"""Called with (bytes so far, total bytes or None)."""


@dataclass(frozen=True)
class Expected:
    """What is known about a file beforehand."""

    size: int | None = None
    sha256: str | None = None
    magic: tuple[bytes, ...] = ()
    """The file must begin with one of these; empty: anything but HTML."""
    md5: str | None = None
    """For files whose publisher states no SHA-256."""
    what: str = "model"
    """Word for the file in messages."""
    home: str = "set JMP_CALC_HOME to"
    """How to choose another folder, before "a folder ..." in messages."""
    by_hand: str = "or fetch the file by other means and register it: jmp-calc models add NAME PATH"
    """What to do if it cannot be fetched."""
    max_bytes: int = MAX_BYTES
    """The most that is taken from the server where ``size`` is not known."""
    check: Callable[[Path], None] | None = None
    """Raises ModelError for a file that is not whole; called before anybody sees the file."""

    @property
    def limit(self) -> int:
        """Bytes that the file has at most."""
        return self.max_bytes if self.size is None else self.size

    @property
    def tells_the_end(self) -> bool:
        """Whether a file that ends early is noticed without the server's help."""
        return not (self.size is None and self.sha256 is None and self.md5 is None)


def download(url: str, target: Path, expected: Expected, *, progress: Progress | None = None) -> str:
    """Fetch ``url`` to ``target`` and return its SHA-256; returns at once if another process has just done
    so.

    Raises:
        ModelError: no connection, server error, HTML instead of a file, truncated, wrong size or hash, no
            space.
    """
    _check_url(url)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target):
            if not target.exists():
                _fetch(url, target, expected, progress)
            return _digest(target)
    except PermissionError as err:
        raise ModelError(
            f"Cannot write to the {expected.what} folder: {err.strerror}.",
            where=str(target.parent),
            hint=f"{expected.home} a folder that you can write to",
        ) from err
    except OSError as err:
        raise ModelError(
            f"Cannot store the {expected.what}: {err.strerror or err}.",
            where=str(target),
            hint=f"free some space or {expected.home} another folder",
        ) from err


@contextlib.contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock file of ``target``; waits for other processes (a plain lock file where flock is
    missing)."""
    from filelock import FileLock, SoftFileLock

    path = str(target) + ".lock"
    try:
        lock: Any = FileLock(path)
        lock.acquire()
    except NotImplementedError:  # some network file systems
        lock = SoftFileLock(path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch(url: str, target: Path, expected: Expected, progress: Progress | None) -> None:
    part, notes = Path(f"{target}.part"), Path(f"{target}.part.json")
    for attempt in range(ATTEMPTS):
        try:
            _transfer(url, part, notes, expected, progress)
            break
        except _Interrupted as err:
            if attempt + 1 == ATTEMPTS:
                raise ModelError(
                    f"The download ended early: {err}.",
                    where=url,
                    hint="run the same command again, it goes on where it stopped",
                ) from err
    try:
        _check_whole(url, part, expected)
    except ModelError:
        _drop(part, notes)
        raise
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, target)
    notes.unlink(missing_ok=True)


def _check_whole(url: str, part: Path, expected: Expected) -> None:
    """ModelError if the file is not the one that is known, or not whole."""
    for name, known, kind in (("MD5", expected.md5, "md5"), ("checksum", expected.sha256, "sha256")):
        if known is not None and (found := _digest(part, kind)) != known:
            raise ModelError(
                f"The downloaded file has the wrong {name} {found}, expected {known}.",
                where=url,
                hint="it was removed; try again, and trust no copy that fails twice",
            )
    if expected.check is None:
        return
    try:
        expected.check(part)
    except ModelError as err:
        raise ModelError(
            f"The downloaded file is no whole {expected.what} file. {err.fact}",
            where=url,
            hint=f"it was removed; try again, {expected.by_hand}",
        ) from err


def _drop(part: Path, notes: Path) -> None:
    part.unlink(missing_ok=True)
    notes.unlink(missing_ok=True)


class _Interrupted(Exception):
    """The connection ended before the file did; what has arrived is kept."""


def _transfer(url: str, part: Path, notes: Path, expected: Expected, progress: Progress | None) -> None:
    """One request: append to or start ``part``."""
    have = part.stat().st_size if part.exists() else 0
    kept = _kept(notes) if have else None
    request = urllib.request.Request(url, headers={"User-Agent": "jmp-calc", "Accept-Encoding": "identity"})
    if kept is not None:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", kept.validator)
    try:
        with _opener().open(request, timeout=TIMEOUT_S) as response:
            start = _start(response, have, kept)
            if start is None:
                _drop(part, notes)
                raise _Interrupted("the server went on with another file than it had begun")
            total = _total(response, start)
            _check_response(url, response, start, total, expected, part)
            _keep(notes, response, total)
            _append(response, part, start, total, expected, url, progress)
    except urllib.error.HTTPError as err:
        if err.code == 416:  # the part is not a beginning of the file
            _drop(part, notes)
            raise _Interrupted("the server refused to continue") from err
        raise ModelError(
            f"The server answered {err.code} {_one_line(err.reason)}.", where=url, hint=expected.by_hand
        ) from err
    except (*_LOST, ValueError) as err:  # ValueError: a redirect to what is no address, a name that is none
        reason = _one_line(getattr(err, "reason", err))
        raise ModelError(f"No connection to the server: {reason}.", where=url, hint=expected.by_hand) from err


def _one_line(reason: object) -> str:
    """What a server or the machine says, as a part of a sentence."""
    return " ".join(str(reason).split())[:200]


def _append(
    response: Any,
    part: Path,
    start: int,
    total: int | None,
    expected: Expected,
    url: str,
    progress: Progress | None,
) -> None:
    done = start
    with part.open("rb+" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        for piece in _pieces(response):
            if done == 0:
                _check_begin(piece, url, expected)
            done += len(piece)
            if done > expected.limit:
                raise _too_long(url, expected)
            file.write(piece)
            if progress is not None:
                progress(done, total)
    end = expected.size if total is None else total
    if end is not None and done != end:
        raise _Interrupted(f"{done} of {end} bytes have arrived")


def _pieces(response: Any) -> Iterator[bytes]:
    """What arrives, as it arrives; the first piece is long enough to tell the kind of the file."""
    begin = b""
    try:
        while len(begin) < _BEGIN and (piece := response.read1(_BEGIN)):
            begin += piece
        if begin:
            yield begin
        while piece := response.read1(CHUNK):
            yield piece
    except _LOST as err:
        raise _Interrupted(str(err) or type(err).__name__) from err


def _too_long(url: str, expected: Expected) -> ModelError:
    known = "bytes of this" if expected.size is not None else "bytes that are taken of a"
    return ModelError(
        f"The server sends more than the {expected.limit} {known} {expected.what}.",
        where=url,
        hint=expected.by_hand,
    )


def _check_response(
    url: str, response: Any, start: int, total: int | None, expected: Expected, part: Path
) -> None:
    """ModelError for an answer that cannot become the file."""
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise ModelError(
            f"The server sent a web page instead of the {expected.what} file.",
            where=url,
            hint=expected.by_hand,
        )
    packed = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packed not in ("", "identity"):
        raise ModelError(f"The server packs the file ({packed[:20]}).", where=url, hint=expected.by_hand)
    if total is None and not response.chunked and not expected.tells_the_end:
        raise ModelError(
            "The server does not say how long the file is, so a part cannot be told from the whole.",
            where=url,
            hint=expected.by_hand,
        )
    if expected.size is not None and total is not None and total != expected.size:
        raise ModelError(
            f"The server offers {total} bytes, but this {expected.what} has {expected.size}.",
            where=url,
            hint="the address may have changed",
        )
    if total == 0:
        raise ModelError("The server sends an empty file.", where=url, hint=expected.by_hand)
    if total is not None and total > expected.limit:
        raise _too_long(url, expected)
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - start > free:
        raise ModelError(
            f"The download needs {total - start} bytes, but only {free} are free.",
            where=str(part.parent),
            hint=f"free some space or {expected.home} another folder",
        )


def _check_begin(chunk: bytes, url: str, expected: Expected) -> None:
    if chunk.lstrip()[:1] == b"<" and not expected.magic:
        raise ModelError(
            f"The server sent a web page instead of the {expected.what} file.",
            where=url,
            hint=expected.by_hand,
        )
    if expected.magic and not chunk.startswith(expected.magic):
        page = chunk.lstrip()[:1] == b"<"
        what = (
            f"a web page instead of the {expected.what} file"
            if page
            else f"something else than a {expected.what} file"
        )
        raise ModelError(f"The server sent {what}.", where=url, hint=expected.by_hand)


@dataclass(frozen=True)
class _Kept:
    """What is known of the file whose beginning is in the part."""

    validator: str
    """ETag or date."""
    total: int | None


def _start(response: Any, have: int, kept: _Kept | None) -> int | None:
    """The first byte of an answer; None: it is a piece of another file or of another place than asked for."""
    if response.status != 206:
        return 0  # the whole file: it has changed, or the server knows no ranges
    span = re.fullmatch(
        r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", response.headers.get("Content-Range", "")
    )
    if kept is None or span is None or int(span[1]) != have:
        return None
    if span[3] != "*" and (int(span[2]) + 1 != int(span[3]) or kept.total not in (None, int(span[3]))):
        return None
    return have if _validator(response) in (None, kept.validator) else None


def _total(response: Any, start: int) -> int | None:
    """Bytes of the file as the server states them; those of a chunked answer count themselves."""
    length = response.headers.get("Content-Length")
    if response.chunked or length is None or not (length.isascii() and length.isdigit()):
        return None
    return start + int(length[:20])


def _kept(notes: Path) -> _Kept | None:
    """None: the part cannot be continued safely."""
    try:
        data = json.loads(read_bounded(notes, 4096))
        validator, total = data["validator"], data["total"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    right = isinstance(validator, str) and (total is None or type(total) is int)
    return _Kept(validator, total) if right else None


def _validator(response: Any) -> str | None:
    etag = response.headers.get("ETag")
    found = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
    return None if found is None else str(found)


def _keep(notes: Path, response: Any, total: int | None) -> None:
    notes.write_text(json.dumps({"validator": _validator(response), "total": total}), encoding="utf-8")


def _digest(path: Path, kind: str = "sha256") -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _check_url(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as err:
        raise ModelError(f"This is no address: {err}.", where=url) from err
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL_HOSTS):
        return
    raise ModelError("Files are fetched over https only.", where=url)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects only where a first request would have been allowed."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """As the base class, after checking the new address: https, and not this machine."""
        _check_url(newurl)
        here, there = (urllib.parse.urlsplit(url).hostname for url in (req.full_url, newurl))
        if there in LOCAL_HOSTS and here not in LOCAL_HOSTS:
            raise ModelError("The server sends us on to this machine.", where=newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_SafeRedirects)
