"""Archives of weights are unpacked once, whole, and nowhere else."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from jmp_calc.errors import ModelError, UsageError
from jmp_calc.labelling.weights import resolved_weights


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JMP_CALC_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def archive(path: Path, *members: tuple[str, bytes | str]) -> Path:
    """A packed archive of files (bytes) and links (text)."""
    with tarfile.open(path, "w:xz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def test_an_archive_is_unpacked_once(tmp_path: Path, cache: Path) -> None:
    path = archive(tmp_path / "w.tar.xz", ("model/a.params", b"1"))
    folder = resolved_weights(path)
    assert (folder / "model/a.params").read_bytes() == b"1" and folder.is_relative_to(cache)
    (folder / "mark").touch()
    assert (resolved_weights(path) / "mark").exists()


@pytest.mark.parametrize(
    "members",
    [
        (("../evil", b"1"),),
        (("/tmp/evil", b"1"), ("../x", b"")),
        (("link", "../../outside"), ("link/x", b"1")),
    ],
)
def test_an_archive_that_leaves_its_folder_is_refused(
    tmp_path: Path, members: tuple[tuple[str, bytes]]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    path = archive(tmp_path / "w.tar.xz", *members)
    with pytest.raises(ModelError, match="cannot be unpacked"):
        resolved_weights(path)
    left = {p for p in tmp_path.rglob("*") if p.is_file()} - set(before) - {path}
    assert not left


def test_damaged_archives_and_missing_files_are_said(tmp_path: Path) -> None:
    path = archive(tmp_path / "w.tar.xz", ("a", bytes(10_000)))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ModelError, match="cannot be unpacked"):
        resolved_weights(path)
    with pytest.raises(UsageError, match="no weights"):
        resolved_weights(tmp_path / "none.tar.xz")
    plain = tmp_path / "model.nqx"
    plain.write_bytes(b"x")
    assert resolved_weights(plain) == plain
