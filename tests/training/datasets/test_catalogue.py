"""``jmp-calc data``: the list says what is known and invents nothing; fetching and unpacking; export as
extended XYZ."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from click.testing import CliRunner, Result

from jmp_calc.cli.main import cli
from jmp_calc.errors import BadInputError, ModelError, UsageError
from jmp_calc.training.data.labels import read_labelled
from jmp_calc.training.datasets import catalogue
from jmp_calc.training.datasets.catalogue import Publication, PublishedFile, fetch, load_catalogue
from jmp_calc.training.datasets.registry import FAMILIES
from tests.training.helpers import hdf5_layouts, layouts, scalar_layouts
from tests.zoo.test_download import Server, serving


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving() as running:
        yield running


def publication(server: Server, name: str, **facts: object) -> Publication:
    return Publication("toy", "a toy", "nowhere", files=(PublishedFile(name, server.url, **facts),))  # type: ignore[arg-type]


def test_every_reader_is_in_the_catalogue_and_the_other_way_round() -> None:
    entries = load_catalogue()
    assert set(entries) == set(FAMILIES)
    for entry in entries.values():
        for file in entry.files:
            assert file.url is None or file.url.startswith("https://")
            assert file.md5 is None or re.fullmatch("[0-9a-f]{32}", file.md5)
            assert (
                file.sha256 is None and file.size is None
            )  # the publishers' are not known: none may be made up
    assert entries["oc22"].files[0].md5 == "ebea523c6f8d61248a37b4dd660b11e6"


def test_the_list_says_what_is_not_published() -> None:
    text = run("data", "list").output
    assert "https://springernature.figshare.com/ndownloader/files/18112775" in text
    assert "checksum not published" in text and "md5 f8d0909c2623a393148435dede7d3a46" in text
    assert "size not published" in text and "6.6 GB" in text
    rows = {row["name"]: row for row in json.loads(run("data", "list", "--json").stdout)}
    assert rows["rmd17"]["splits"][0] == "jmp" and "aspirin" in rows["rmd17"]["members"]
    assert rows["oc20"]["licence"] == "CC-BY-4.0"


def test_fetch_goes_on_and_checks_the_md5(tmp_path: Path, server: Server) -> None:
    server.content = b"\x89HDF" + bytes(range(256)) * 2000
    server.cut_after = [100_000]
    lines: list[str] = []
    good = publication(
        server, "toy.h5", md5=hashlib.md5(server.content).hexdigest(), size=len(server.content)
    )
    (path,) = fetch(good, tmp_path, say=lines.append)
    assert path.read_bytes() == server.content
    assert server.requests[1] == "bytes=100000-"
    assert "checked" in lines[0] and hashlib.sha256(server.content).hexdigest() in lines[0]
    fetch(good, tmp_path, say=lines.append)
    assert len(server.requests) == 2  # nothing is fetched twice
    wrong = publication(server, "other.h5", md5="0" * 32)
    with pytest.raises(ModelError, match="wrong MD5"):
        fetch(wrong, tmp_path)
    assert not (tmp_path / "other.h5").exists() and not (tmp_path / "other.h5.part").exists()


def test_fetch_failures_speak_of_data_and_not_of_models(tmp_path: Path, server: Server) -> None:
    server.content = b"<html>not found</html>"
    with pytest.raises(ModelError, match="a web page instead of the data file") as caught:
        fetch(publication(server, "toy.h5"), tmp_path)
    assert "put it into" in str(caught.value) and "models add" not in str(caught.value)
    server.status = 404
    with pytest.raises(ModelError, match="404"):
        fetch(publication(server, "toy.h5"), tmp_path)
    with pytest.raises(UsageError, match="No address is known for s2ef_val_id.tar"):
        fetch(load_catalogue()["oc20"], tmp_path, ["s2ef_val_id.tar"])
    with pytest.raises(UsageError, match="No address is known for matbench"):
        fetch(load_catalogue()["matbench"], tmp_path)
    insecure = Publication(
        "toy", "a toy", "nowhere", files=(PublishedFile("a.h5", "http://example.org/a.h5"),)
    )
    with pytest.raises(ModelError, match="https only"):
        fetch(insecure, tmp_path)


def test_the_command_fetches_and_the_reader_finds_the_files(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As rMD17 is published: a zip that holds a tar with the folder rmd17."""
    layouts.write_rmd17(tmp_path / "made", "toluene", 8)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:bz2") as archive:
        archive.add(tmp_path / "made" / "rmd17", "rmd17")
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as zipped:
        zipped.writestr("rmd17.tar.bz2", packed.getvalue())
    server.content = outer.getvalue()
    monkeypatch.setattr(catalogue, "load_catalogue", lambda: {"rmd17": publication(server, "rmd17.zip")})
    done = run("data", "fetch", "rmd17", "-o", tmp_path / "data")
    assert done.exit_code == 0, done.output
    assert "no checksum published" in done.output and "unpacked rmd17.tar.bz2" in done.output
    out = tmp_path / "toluene.extxyz"
    done = run("data", "export", "rmd17", "toluene", "--data", tmp_path / "data", "-o", out, "--frames", 5)
    assert done.exit_code == 0, done.output
    assert len(read(out, ":")) == 5
    assert run("data", "fetch", "rmd71", "-o", tmp_path).exit_code == 2


def test_archives_cannot_leave_the_folder(tmp_path: Path) -> None:
    bad = tmp_path / "bad.tar"
    with tarfile.open(bad, "w") as archive:
        entry = tarfile.TarInfo("../outside")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"x"))
    folder = tmp_path / "inside"
    folder.mkdir()
    with pytest.raises(BadInputError, match="cannot be unpacked"):
        catalogue.unpack_archive(bad, folder)
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../outside", "x")
    catalogue.unpack_archive(tmp_path / "bad.zip", folder)
    assert not (tmp_path / "outside").exists()
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(BadInputError, match="cannot be unpacked"):
        catalogue.unpack_archive(tmp_path / "cut.zip", folder)


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("_", "."), data)
    return out.getvalue()


def tarred(names: list[str], data: bytes, mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


ZEROS = bytes(3 << 20)
BOMBS = {
    "zip": ("a.zip", zipped(a_npz=ZEROS), "far more bytes"),
    "tar": ("a.tgz", tarred(["a"], ZEROS), "far more bytes"),
    "in two": (
        "a.zip",
        zipped(a_npz=ZEROS[: 1 << 19], b_zip=zipped(c_npz=ZEROS[: 3 << 19])),
        "far more bytes",
    ),
    "members": ("a.tar.bz2", tarred([str(i) for i in range(50)], b"", "w:bz2"), "the limit is 40"),
    "nested": ("a.zip", zipped(b_zip=zipped(c_zip=zipped(d_zip=zipped(e=b"x")))), "inside each other"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_archives_that_unpack_to_far_more_than_they_hold_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(catalogue, "FREE_BYTES", 1 << 20)
    monkeypatch.setattr(catalogue, "MAX_MEMBERS", 40)
    file, data, reason = BOMBS[name]
    (tmp_path / file).write_bytes(data)
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(BadInputError, match=reason):
        catalogue.unpack_archive(tmp_path / file, folder)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1 << 20


def test_a_tar_archive_with_an_endless_name_is_refused(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 2 << 20
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(entry.tobuf(tarfile.GNU_FORMAT) + bytes(2 << 20)))
    with pytest.raises(BadInputError, match="cannot be unpacked"):
        catalogue.unpack_archive(tmp_path / "a.tar.gz", tmp_path)


@pytest.mark.parametrize("file", ["a.zip", "a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_any_damage_of_an_archive_is_a_sentence_or_harmless(tmp_path: Path, file: str) -> None:
    mode = {"a.tgz": "w:gz", "a.tar.bz2": "w:bz2", "a.tar.xz": "w:xz"}.get(file)
    whole = tarred(["b.txt"], b"text" * 9, mode) if mode else zipped(b_txt=b"text" * 9)
    for place in range(len(whole)):
        (tmp_path / file).write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with suppress(BadInputError):
            catalogue.unpack_archive(tmp_path / file, tmp_path / "out")


def test_an_archive_that_holds_itself_ends(tmp_path: Path) -> None:
    """Its inner archive has its own name and replaces it in the folder."""
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(a_zip=zipped(a_zip=zipped(x=b"1"))))
    with suppress(BadInputError):
        catalogue.unpack_archive(path, tmp_path)
    assert path.stat().st_size < 1000


def test_export_keeps_labels_identifiers_and_skips_bad_frames(tmp_path: Path) -> None:
    made = hdf5_layouts.write_transition1x(tmp_path / "Transition1x.h5")
    out = tmp_path / "train.extxyz"
    done = run("data", "export", "transition1x", "train", "--data", tmp_path, "-o", out)
    assert done.exit_code == 0, done.output
    frames = read_labelled(out).frames
    assert [frame.energy for frame in frames] == pytest.approx([*made, *made], abs=1e-6)
    assert read(out, 0).info["identifier"] == "C2H2_rxn0001/0"
    assert (
        run("data", "export", "transition1x", "train", "--data", tmp_path, "-o", out).exit_code == 2
    )  # it exists
    scalar_layouts.write_matbench(tmp_path, "jdft2d", "exfoliation_en", 636, [float(i) for i in range(636)])
    out = tmp_path / "test.extxyz"
    done = run(
        "data",
        "export",
        "matbench",
        "jdft2d",
        "--data",
        tmp_path,
        "-o",
        out,
        "--part",
        "test",
        "--split",
        "fold-1",
        "--frames",
        10,
    )
    assert done.exit_code == 0, done.output
    images = read(out, ":")
    assert len(images) == 10
    assert (
        images[0].info["exfoliation_en"] == float(images[0].info["identifier"].removeprefix("mb-jdft2d-")) - 1
    )
    done = run(
        "data", "export", "transition1x", "train", "--data", tmp_path, "-o", tmp_path / "no", "--part", "test"
    )
    assert done.exit_code == 2 and "has no splits" in done.output


def test_export_leaves_nothing_behind_when_a_frame_is_bad(tmp_path: Path) -> None:
    springs = layouts.methanol()
    positions, energies, forces = springs.trajectory(6)
    forces[3, 0, 0] = np.inf
    positions[5, 1] = positions[5, 0] + 0.1
    (tmp_path / "d").mkdir()
    (tmp_path / "out.extxyz.part").write_text("another file")
    np.savez(
        tmp_path / "d" / "rmd17_uracil.npz",
        nuclear_charges=springs.numbers,
        coords=positions,
        energies=energies,
        forces=forces,
    )
    words = ("data", "export", "rmd17", "uracil", "--data", tmp_path / "d", "-o", tmp_path / "out.extxyz")
    done = run(*words)
    assert done.exit_code == 4
    assert "rmd17_uracil.npz frame 3" in done.output and "--on-bad skip" in done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "out.extxyz.part"]
    done = run(*words, "--on-bad", "skip")
    assert (tmp_path / "out.extxyz.part").read_text() == "another file"
    assert done.exit_code == 0, done.output
    assert "2 frames left out: 1 close atoms, 1 force not finite" in done.output
    assert len(read(tmp_path / "out.extxyz", ":")) == 4
    assert run(*words, "--min-atoms", 7, "--overwrite").exit_code == 4  # nothing is left
    assert len(read(tmp_path / "out.extxyz", ":")) == 4


def test_checks_name_what_is_wrong() -> None:
    from jmp_calc.training.data.screen import find_fault

    good = layouts_frame()
    assert find_fault(good) is None
    cases = {
        "The positions have shape": {"positions": np.zeros((5, 3))},
        "The forces have shape": {"forces": np.zeros((5, 3))},
        "The energy is nan": {"energy": float("nan")},
        "is above 1000": {"forces": np.full((6, 3), 1e4)},
        "The target gap is inf": {"targets": {"gap": float("inf")}},
        "atomic number": {"numbers": np.array([6, 8, 1, 1, 1, 119])},
        "zero": {"pbc": np.ones(3, dtype=bool)},
        "Å apart": {"positions": good.positions * 0.15},
    }
    for text, change in cases.items():
        found = find_fault(dataclasses.replace(good, **change))  # type: ignore[arg-type]
        assert found is not None and text in found[1], (text, found)


def layouts_frame() -> object:
    from jmp_calc.training.datasets.base import molecule_frame

    springs = layouts.methanol()
    return molecule_frame(
        springs.numbers, springs.start, "toy", 0, "toy", energy=-1.0, forces=np.zeros((6, 3))
    )
