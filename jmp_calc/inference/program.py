"""Load a compiled program and refuse one that was made for another model, setting, torch or machine."""

from __future__ import annotations

import dataclasses
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from ..errors import ModelError
from ..graph.policy import GraphPolicy
from ..io.regular import open_regular
from ..io.schema import parse
from ..zoo.header import MAX_HEADER_BYTES, plain_json
from .compiled import Program, first_line

T = TypeVar("T")
FORMAT_VERSION = 2
"""2: the adaptive cutoffs of the atoms are an input."""


HEADER = "jmp_calc.json"


ARCHITECTURES = {"DEFAULT": "x86-64", "AVX2": "x86-64-v3", "AVX512": "x86-64-v4"}
"""What the C++ compiler may use on x86, by torch's name of the processor's vector instructions; the later
have the earlier."""


OUTPUTS = {
    "conservative": ("energy", "energies", "forces", "stress"),
    "direct": ("energy", "energies", "forces"),
}
"""What a program gives, by the kind of its forces, in the order of ``Prediction``."""


LABELS = {
    "format_version": "format version", "jmp_calc": "jmp-calc", "torch": "torch", "device": "device",
    "system": "system",
    "instructions": "processors with", "weights": "weights", "head": "head", "dtype": "dtype",
    "forces": "forces",
}  # fmt: skip


SETTINGS = ("device", "weights", "head", "dtype", "forces")
"""Those of the header that are arguments of a calculator."""


HINT = "make the file again: jmp-calc export MODEL --to aoti"


@dataclass(frozen=True)
class ProgramHeader:
    """What a program was made of and for."""

    format_version: int
    jmp_calc: str
    torch: str
    device: str
    system: str
    """Operating system and processor, such as "Linux x86_64"."""
    instructions: str
    """torch's name of the vector instructions: DEFAULT, AVX2, AVX512, or another on other processors."""
    model: str
    sha256: str
    """Of the model's file."""
    weights: str
    head: str
    dtype: str
    forces: str
    policy: GraphPolicy


def load_program(path: str | os.PathLike[str], wanted: ProgramHeader) -> Program:
    """The program in a file, which must have been made for what ``wanted`` says.

    Raises:
        ModelError: not such a file, damaged, or made for something else.
    """
    header = read_header(Path(path))
    check_header(header, wanted, str(path))
    return Program(load_code(Path(path)), OUTPUTS[header.forces])


def load_code(path: Path) -> Callable[[list[Tensor]], Sequence[Tensor]]:
    """The machine code of a program, from tensors (of any shape) to tensors; ModelError where torch refuses
    it."""
    # The loader behind torch._inductor.aoti_load_package, which imports the whole compiler (seconds) around
    # it.
    try:
        loader = torch._C._aoti.AOTIModelPackageLoader(os.fspath(path), "model", False, 1, -1)
    except RuntimeError as error:
        raise ModelError(
            f"The compiled program cannot be loaded: {first_line(error)}.", where=str(path), hint=HINT
        ) from error
    return loader.run  # type: ignore[no-any-return]


def read_header(path: Path) -> ProgramHeader:
    """What a program was made for; loads no code. ModelError: no such file, or not one of ours."""
    return read_header_as(path, lambda text: parse(ProgramHeader, plain_json(text), "header"))


def read_header_as(path: Path, parsed: Callable[[str], T]) -> T:
    """The header of a compiled program, ``parsed`` from its text; ModelError: no such file, or it is
    damaged."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if name.endswith(f"/extra/{HEADER}")]
            text = _read_text(archive, names[0]) if len(names) == 1 else ""
        if not text:
            raise ValueError("it has no header")
        return parsed(text)
    except OSError as error:
        raise ModelError(
            f"Cannot open the compiled program: {error.strerror or error}.", where=str(path), hint=HINT
        ) from error
    # zlib and lzma have their own errors for damage; NotImplementedError: of a zip with unknown compression;
    # RuntimeError: with a password.
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        struct.error,
        ValueError,
        NotImplementedError,
        RuntimeError,
        ModelError,
    ) as error:
        raise ModelError(
            f"This is no file of jmp-calc export --to aoti, or it is damaged: {error}.",
            where=str(path),
            hint=HINT,
        ) from error


def _read_text(archive: zipfile.ZipFile, name: str) -> str:
    """A member as text; ValueError if it is or says it is longer than a header can be."""
    with archive.open(name) as member:
        data = member.read(MAX_HEADER_BYTES + 1)
    if max(len(data), archive.getinfo(name).file_size) > MAX_HEADER_BYTES:
        raise ValueError(f"its header has more than {MAX_HEADER_BYTES} bytes")
    return data.decode()


def check_header(found: ProgramHeader, wanted: ProgramHeader, where: str) -> None:
    """ModelError that names the first difference between what a program was made for and what it is to be
    used for."""
    for item in dataclasses.fields(ProgramHeader):
        theirs, ours = getattr(found, item.name), getattr(wanted, item.name)
        if item.name == "model" or theirs == ours:  # the model is told by its sha256
            continue
        if item.name == "instructions" and runs_on(theirs, ours):
            continue
        if item.name == "policy":
            fact = (
                "The compiled program is for other graphs (cutoffs, neighbours or tags) than those of "
                "this calculator."
            )
        elif item.name == "sha256":
            fact = (
                f"The compiled program is of another file of {found.model} (sha256 {theirs[:12]}…, this: "
                f"{ours[:12]}…)."
            )
        else:
            fact = f"The compiled program is for {LABELS[item.name]} {theirs}, not {ours}."
        hint = f"choose {item.name}={theirs!r}, or {HINT}" if item.name in SETTINGS else HINT
        raise ModelError(fact, where=where, hint=hint)


def runs_on(theirs: str, ours: str) -> bool:
    """Whether code for the vector instructions ``theirs`` runs on an x86 processor with ``ours``."""
    names = list(ARCHITECTURES)
    return theirs in names and ours in names and names.index(theirs) <= names.index(ours)
