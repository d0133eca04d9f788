"""Contents of a checkpoint's pickle without executing anything from it.

Three kinds of names may appear in the pickle. Names on the allow list become our own inert functions; classes
of unknown third-party packages become placeholders that swallow their arguments; everything else (the
standard library, built-in functions, torch and numpy functions, lower-case names) is refused before the first
instruction runs. Nothing is ever imported by name.
"""

from __future__ import annotations

import functools
import io
import math
import pickle
import pickletools
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import JMPError, ModelError
from .archive import TorchArchive
from .shared_parts import SharedParts

_ITEM_SIZES = {
    "DoubleStorage": ("float64", 8), "FloatStorage": ("float32", 4), "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2), "LongStorage": ("int64", 8), "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2), "CharStorage": ("int8", 1), "ByteStorage": ("uint8", 1),
    "BoolStorage": ("bool", 1),
}  # fmt: skip
_PATHS = ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath", "Path", "PurePath")
_BUILTIN_DATA = (
    "set",
    "frozenset",
    "list",
    "dict",
    "tuple",
    "int",
    "float",
    "str",
    "bool",
    "complex",
    "bytearray",
    "bytes",
    "slice",
    "range",
    "object",
)
_INERT_STANDARD = {
    *(("builtins", name) for name in _BUILTIN_DATA),
    ("collections", "defaultdict"),
    ("collections", "Counter"),
    ("collections", "deque"),
    ("copyreg", "_reconstructor"),
    ("_codecs", "encode"),
    ("datetime", "datetime"),
    ("datetime", "timedelta"),
    ("datetime", "date"),
    ("datetime", "timezone"),
    ("decimal", "Decimal"),
    ("fractions", "Fraction"),
    ("uuid", "UUID"),
    ("argparse", "Namespace"),
    ("types", "SimpleNamespace"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch", "dtype"),
    ("torch.serialization", "_get_layout"),
    *(("torch", name) for name, _ in _ITEM_SIZES.values()),
    *(
        (f"numpy.{core}.multiarray", name)
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
}
_GUARDED_ROOTS = {"torch", "numpy", "pip", "setuptools", "pkg_resources", "__main__", "nt"}
MAX_RANK = 64
"""Dimensions of a tensor, as in torch and numpy."""
MAX_PATH = 4096
"""Characters of a file name with its folders, as in Linux."""
_FORBIDDEN_OPCODES = {"EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER", "READONLY_BUFFER"}
_MEMO_OPCODES = {"PUT", "BINPUT", "LONG_BINPUT"}


class _Stateless:
    """What is checked when it is made: a pickle may not change it afterwards."""

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("state for a tensor")


@dataclass(frozen=True)
class StorageType(_Stateless):
    """Element type of a storage, by torch dtype name."""

    dtype: str
    item_size: int


@dataclass(frozen=True)
class LazyStorage(_Stateless):
    """A storage of the file that has not been read."""

    key: str
    kind: StorageType
    n_items: int


@dataclass(frozen=True)
class LazyTensor(_Stateless):
    """Where a tensor lies in its storage (offset and stride in elements); nothing has been read."""

    storage: LazyStorage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def dtype(self) -> str:
        """Name of the torch dtype, such as "float32"."""
        return self.storage.kind.dtype


class Inert:
    """Stands for any object that is not needed; swallows arguments and state and does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __new__(cls, *args: object, **kwargs: object) -> Inert:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Ignore an item of a list-like object."""

    def extend(self, items: object) -> None:
        """Ignore items of a list-like object."""

    def add(self, item: object) -> None:
        """Ignore an item of a set-like object."""


class _Ordered(OrderedDict):  # type: ignore[type-arg]
    """OrderedDict whose attributes (torch's ``_metadata``) are dropped; filled by items, never by a copy."""

    def __init__(self) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass


@dataclass(frozen=True)
class Rules:
    """What a pickle may name, and the error that says why it is refused."""

    resolve: Callable[[str, str], Any]
    """Our own function or class for a pickled (module, name); None: refuse."""
    refuse: Callable[[str, str], JMPError]
    """The error for a fact and a hint."""


def load_contents(archive: TorchArchive) -> Any:
    """The pickled object with LazyTensor for tensors and Inert for all that is not plain data.

    Raises:
        ModelError: the pickle names code, or is damaged.
    """
    rules = Rules(resolve, functools.partial(_refusal, archive))
    return load_pickle(archive.pickle_bytes(), rules, functools.partial(_storage, archive))


def load_pickle(data: bytes, rules: Rules, storage: Callable[[Any], LazyStorage] | None = None) -> Any:
    """The object of one pickle, made of plain data and of what ``rules`` allow; nothing is imported by name.

    ``storage`` turns a persistent id into a storage; without it there must be none. Raises the error of
    ``rules`` for a pickle that names code or is damaged.
    """
    _scan(data, rules)
    try:
        return _Unpickler(data, rules, storage).load()
    except JMPError:
        raise
    except Exception as err:  # a damaged pickle can fail in any way; nothing but our own code has run
        raise rules.refuse(f"its pickle is damaged ({type(err).__name__}: {err})", "fetch it again") from err


def _scan(data: bytes, rules: Rules) -> None:
    """Refuse a pickle that names code, before any of it runs; also bounds the memory its memo can take
    and the time that hashing its objects can."""
    bad: list[str] = []
    shared = SharedParts(len(data))
    try:
        for opcode, arg, _ in pickletools.genops(data):
            shared.follow(opcode, arg)
            if opcode.name in ("GLOBAL", "INST"):
                module, _, name = str(arg).partition(" ")
                if rules.resolve(module, name) is None:
                    bad.append(f"{module}.{name}")
            elif opcode.name in _FORBIDDEN_OPCODES:
                bad.append(f"opcode {opcode.name}")
            elif opcode.name in _MEMO_OPCODES and not 0 <= int(arg) <= len(data):  # type: ignore[arg-type]
                raise ValueError("memo index out of range")
    except Exception as err:  # pickletools raises many kinds for damaged input
        raise rules.refuse(f"its pickle is damaged ({err})", "fetch it again") from err
    if bad:
        raise _hostile(rules, sorted(set(bad)))


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, rules: Rules, storage: Callable[[Any], LazyStorage] | None) -> None:
        super().__init__(io.BytesIO(data))
        self._rules, self._storage = rules, storage

    def find_class(self, module: str, name: str) -> Any:
        """Our own function for an allowed name; never imports."""
        found = self._rules.resolve(module, name)
        if found is None:  # reached only by STACK_GLOBAL, whose names the scan cannot see
            raise _hostile(self._rules, [f"{module}.{name}"])
        return found

    def persistent_load(self, pid: Any) -> LazyStorage:
        """A storage reference, with its stated size checked against the file."""
        if self._storage is None:
            raise pickle.UnpicklingError("a tensor storage outside the pickle")
        return self._storage(pid)


def parse_storage(pid: Any) -> LazyStorage:
    """The storage that a persistent id of torch.save describes; UnpicklingError for anything else."""
    if not (
        isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], StorageType)
    ):
        raise pickle.UnpicklingError("unknown kind of tensor storage")
    _, kind, key, _, n_items = pid[:5]
    if not isinstance(key, str) or type(n_items) is not int or n_items < 0:
        raise pickle.UnpicklingError("broken storage reference")
    return LazyStorage(key, kind, n_items)


def _storage(archive: TorchArchive, pid: Any) -> LazyStorage:
    if isinstance(pid, tuple) and len(pid) != 5:
        raise pickle.UnpicklingError("unknown kind of tensor storage")
    storage = parse_storage(pid)
    if archive.storage_size(storage.key) != storage.n_items * storage.kind.item_size:
        raise pickle.UnpicklingError(
            f"storage {storage.key} has not the {storage.n_items} {storage.kind.dtype} numbers stated"
        )
    return storage


def resolve(module: str, name: str) -> Callable[..., Any] | StorageType | None:
    """What a pickled name stands for; None: refuse."""
    # Protocol 2 writes standard names as Python 2 had them: subprocess.Popen is "commands Popen".
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    if (module, name) in _REBUILD:
        return _REBUILD[module, name]
    if module in ("torch", "torch.storage") and name in _ITEM_SIZES:
        return StorageType(*_ITEM_SIZES[name])
    if module in ("pathlib", "pathlib._local") and name in _PATHS:
        return _join_path
    if (module, name) in _INERT_STANDARD:
        return Inert
    root = module.partition(".")[0]
    if root in sys.stdlib_module_names or root in _GUARDED_ROOTS:
        return None
    return Inert if name.lstrip("_")[:1].isupper() and name.replace("_", "a").isalnum() else None


def _rebuild_tensor(
    storage: object, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> LazyTensor:
    numbers = (offset, *shape, *stride)
    if not isinstance(storage, LazyStorage) or any(
        type(n) is not int or not 0 <= n < 1 << 63 for n in numbers
    ):
        raise pickle.UnpicklingError("broken tensor")
    if len(shape) > MAX_RANK:
        raise pickle.UnpicklingError("broken tensor")
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    items = math.prod(shape)
    # An expanded view (stride 0) would make a tiny file claim any amount of memory.
    if items > storage.n_items or (items and last >= storage.n_items):
        raise pickle.UnpicklingError(f"a tensor of shape {shape} is larger than its storage")
    return LazyTensor(storage, offset, tuple(shape), tuple(stride))


def _rebuild_parameter(data: object, *_: object) -> LazyTensor:
    if not isinstance(data, LazyTensor):
        raise pickle.UnpicklingError("broken parameter")
    return data


def _join_path(*parts: object) -> str:
    texts = [part for part in parts if isinstance(part, str)]
    if sum(map(len, texts)) > MAX_PATH:  # a path joined with itself again and again doubles each time
        raise pickle.UnpicklingError(f"a path of more than {MAX_PATH} characters")
    return "/".join(texts).replace("//", "/")


_REBUILD: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("collections", "OrderedDict"): _Ordered,
}


def _hostile(rules: Rules, names: list[str]) -> JMPError:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return rules.refuse(
        f"it names code that no data need: {shown}",
        "nothing was executed; do not trust this file and get it from its publisher",
    )


def _refusal(archive: TorchArchive, fact: str, hint: str) -> ModelError:
    return ModelError(f"The checkpoint is refused: {fact}.", where=str(archive.path), hint=hint)
