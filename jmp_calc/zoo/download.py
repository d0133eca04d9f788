"""One file over HTTP(S): resumable, locked against other processes, verified, and visible only when complete.

The data grow in ``<target>.part``; an interrupted download goes on from there (``Range`` with ``If-Range``).
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError

CHUNK = 1024 * 1024
TIMEOUT_S = 60.0
ATTEMPTS = 3
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")

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
    found = _digest(part)
    if expected.md5 is not None and (md5 := _digest(part, "md5")) != expected.md5:
        part.unlink()
        notes.unlink(missing_ok=True)
        raise ModelError(
            f"The downloaded file has the wrong MD5 {md5}, expected {expected.md5}.",
            where=url,
            hint="it was removed; try again",
        )
    if expected.sha256 not in (None, found):
        part.unlink()
        notes.unlink(missing_ok=True)
        raise ModelError(
            f"The downloaded file has the wrong checksum {found}, expected {expected.sha256}.",
            where=url,
            hint="it was removed; try again, and trust no copy that fails twice",
        )
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, target)
    notes.unlink(missing_ok=True)


class _Interrupted(Exception):
    """The connection ended before the file did; what has arrived is kept."""


def _transfer(url: str, part: Path, notes: Path, expected: Expected, progress: Progress | None) -> None:
    """One request: append to or start ``part``."""
    have = part.stat().st_size if part.exists() else 0
    validator = _validator(notes) if have else None
    request = urllib.request.Request(url, headers={"User-Agent": "jmp-calc", "Accept-Encoding": "identity"})
    if validator is not None:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", validator)
    try:
        with _opener().open(request, timeout=TIMEOUT_S) as response:
            start = have if validator is not None and _resumes_at(response, have) else 0
            total = _total(response, start)
            _check_response(url, response, start, total, expected, part)
            _keep_validator(notes, response)
            _append(response, part, start, total, expected, url, progress)
    except urllib.error.HTTPError as err:
        if err.code == 416:  # the part is not a beginning of the file
            part.unlink(missing_ok=True)
            raise _Interrupted("the server refused to continue") from err
        raise ModelError(
            f"The server answered {err.code} {err.reason}.", where=url, hint=expected.by_hand
        ) from err
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as err:
        if part.exists() and part.stat().st_size > have:
            raise _Interrupted(str(err)) from err
        reason = getattr(err, "reason", err)
        raise ModelError(f"No connection to the server: {reason}.", where=url, hint=expected.by_hand) from err


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
        while chunk := response.read(CHUNK):
            if done == 0:
                _check_begin(chunk, url, expected)
            file.write(chunk)
            done += len(chunk)
            if expected.size is not None and done > expected.size:
                raise ModelError(
                    f"The server sends more than the {expected.size} bytes of this {expected.what}.",
                    where=url,
                )
            if progress is not None:
                progress(done, total)
    if total is not None and done != total:
        raise _Interrupted(f"{done} of {total} bytes have arrived")


def _check_response(
    url: str, response: Any, start: int, total: int | None, expected: Expected, part: Path
) -> None:
    kind = response.headers.get_content_type()
    if kind in ("text/html", "application/xhtml+xml"):
        raise ModelError(
            f"The server sent a web page instead of the {expected.what} file.",
            where=url,
            hint=expected.by_hand,
        )
    if expected.size is not None and total is not None and total != expected.size:
        raise ModelError(
            f"The server offers {total} bytes, but this {expected.what} has {expected.size}.",
            where=url,
            hint="the address may have changed",
        )
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


def _resumes_at(response: Any, have: int) -> bool:
    """Whether the answer is the rest of the file; False: it is the whole file (changed, or Range unknown)."""
    return response.status == 206 and str(response.headers.get("Content-Range", "")).startswith(
        f"bytes {have}-"
    )


def _total(response: Any, start: int) -> int | None:
    length = response.headers.get("Content-Length")
    return start + int(length) if length is not None and length.isdigit() else None


def _validator(notes: Path) -> str | None:
    """ETag or date of the file whose beginning is kept; None: it cannot be continued safely."""
    try:
        value = json.loads(notes.read_text(encoding="utf-8"))["validator"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return value if isinstance(value, str) else None


def _keep_validator(notes: Path, response: Any) -> None:
    etag = response.headers.get("ETag")
    value = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
    notes.write_text(json.dumps({"validator": value}), encoding="utf-8")


def _digest(path: Path, kind: str = "sha256") -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _check_url(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL_HOSTS):
        return
    raise ModelError("Files are fetched over https only.", where=url)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects only where a first request would have been allowed."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """As the base class, after checking the new address."""
        _check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_SafeRedirects)
