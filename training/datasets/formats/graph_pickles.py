"""Pickled graph objects of PyTorch Geometric and torch.save's old single-stream form, read without executing
anything.

The OC20 and OC22 databases hold one pickled ``Data`` object per record, with tensors inside as bytes that
torch.save wrote. Their classes become plain records here, their tensors numpy arrays; everything else is as
in jmp_calc.zoo.pickled.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from jmp_calc.errors import BadInputError, JMPError
from jmp_calc.zoo.pickled import (
    Inert,
    LazyStorage,
    LazyTensor,
    Rules,
    StorageType,
    load_pickle,
    parse_storage,
    resolve,
)

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
_RECORDS = ("Data", "GlobalStorage", "BaseStorage", "DataBatch", "Batch")
_NUMPY_TYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
_FREE_BYTES = 1 << 26
_MAX_DEPTH = 100
"""Containers inside each other."""
_MAX_ITEMS = 1 << 24
"""Items of a container and of those in it, each counted as often as it occurs."""


class Record:
    """A graph object: whatever attributes its pickle gives it, as a dict."""

    state: dict[str, Any]

    def __new__(cls, *args: object) -> Record:
        record = super().__new__(cls)
        record.state = {}
        return record

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) == 2:
            state = state[0] or state[1]
        self.state = state if isinstance(state, dict) else {}  # no copy: many could share one


@dataclass(frozen=True)
class _LoadedStorage(LazyStorage):
    """A storage whose numbers came with the pickle."""

    numbers: np.ndarray


class Budget:
    """Bytes that the tensors of one file may take: views of one storage could multiply a small file."""

    def __init__(self, file_bytes: int) -> None:
        self._left = 8 * file_bytes + _FREE_BYTES

    def take(self, count: int) -> None:
        """UnpicklingError when there are fewer left."""
        self._left -= count
        if self._left < 0:
            raise pickle.UnpicklingError("its tensors are many times larger than the file")


@dataclass
class _NumpyType:
    """Stands for numpy.dtype while a scalar is read."""

    code: str
    order: str = "<"

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = state[1]


def load_record(data: bytes, where: str) -> dict[str, Any]:
    """Attributes of one pickled graph object by name, tensors as numpy arrays (both the old and the new
    layout).

    BadInputError, naming ``where``, for anything else, and for a pickle that names code; nothing of it is
    run.
    """
    budget = Budget(len(data))
    rules = _rules(where, budget)
    found = load_pickle(data, rules)
    if not isinstance(found, Record):
        raise BadInputError(f"The record is a {type(found).__name__}, not a graph object.", where=where)
    state = found.state
    inner = state.get("_store")
    if isinstance(inner, Record):
        state = inner.state.get("_mapping", {})
    if not isinstance(state, dict):
        raise BadInputError("The graph object has no attributes.", where=where)
    with _refusing(rules):
        return {
            key.strip("_"): value
            for key, value in materialise(state, lambda tensor: _loaded(tensor, budget)).items()
            if value is not None and isinstance(key, str)
        }


def load_plain(data: bytes, where: str) -> Any:
    """A pickle of numbers, text and containers (numpy numbers too); BadInputError if it names code."""
    return load_pickle(data, _rules(where, Budget(len(data))))


def load_old_torch(data: bytes, where: str) -> Any:
    """The object in a file (or bytes) that torch.save wrote before its zip form, tensors as numpy arrays.

    BadInputError, naming ``where``, for anything else, for damage, and for a pickle that names code.
    """
    budget = Budget(len(data))
    return _old_torch(data, _rules(where, budget), budget)


def _old_torch(data: bytes, rules: Rules, budget: Budget) -> Any:
    storages: dict[str, LazyStorage] = {}

    def storage(pid: Any) -> LazyStorage:
        found = parse_storage(pid)
        return storages.setdefault(found.key, found)

    parts, position = [], 0
    for number in range(5):
        end = _pickle_end(data, position, rules)
        parts.append(load_pickle(data[position:end], rules, storage if number == 3 else None))
        position = end
    if parts[0] != _MAGIC_NUMBER or parts[1] != _PROTOCOL_VERSION:
        raise rules.refuse("it was not written by torch.save", "fetch it again")
    with _refusing(rules):
        loaded = _storages(data, position, parts[4], storages)
        found = parts[3]
        if isinstance(found, LazyStorage):
            return loaded[found.key]
        return materialise(found, lambda tensor: _strided(loaded[tensor.storage.key], tensor, budget))


def _storages(
    data: bytes, position: int, keys: Any, known: Mapping[str, LazyStorage]
) -> dict[str, np.ndarray]:
    """Numbers of the storages that follow the pickles, by key; UnpicklingError if they are not all there."""
    if (
        not isinstance(keys, list)
        or not all(isinstance(key, str) for key in keys)
        or sorted(keys) != sorted(known)
    ):
        raise pickle.UnpicklingError("its list of tensor storages is not that of its tensors")
    loaded: dict[str, np.ndarray] = {}
    for key in keys:
        kind, count = known[key].kind, known[key].n_items
        start, size = position + 8, count * kind.item_size
        if int.from_bytes(data[position:start], "little") != count or start + size > len(data):
            raise pickle.UnpicklingError(f"the tensor storage {key} is cut off")
        loaded[key] = _numbers(data[start : start + size], kind.dtype)
        position = start + size
    return loaded


def materialise(value: Any, read: Callable[[LazyTensor], np.ndarray]) -> Any:
    """``value`` with every LazyTensor in dicts, lists and tuples replaced by an array.

    What occurs several times is made once. UnpicklingError for a container inside itself, and for more than
    a hundred inside each other, and for parts that occur so often that nothing could go through them all.
    """
    return _Materials(read).of(value, 0)


class _Materials:
    """Makes the contents of one pickle, shared ones once."""

    def __init__(self, read: Callable[[LazyTensor], np.ndarray]) -> None:
        self._read = read
        self._made: dict[int, tuple[Any, int]] = {}
        """What was made of an object, and its items, by the object's id."""
        self._open: set[int] = set()

    def of(self, value: Any, depth: int) -> Any:
        """``value`` with arrays for tensors, at this depth of containers."""
        if not isinstance(value, LazyTensor | dict | list | tuple):
            return value
        if id(value) not in self._made:
            if id(value) in self._open:
                raise pickle.UnpicklingError("a container holds itself")
            if depth > _MAX_DEPTH:
                raise pickle.UnpicklingError("containers are nested too deeply")
            self._open.add(id(value))
            self._made[id(value)] = self._new(value, depth), self._items(value)
        return self._made[id(value)][0]

    def _new(self, value: Any, depth: int) -> Any:
        if isinstance(value, LazyTensor):
            return self._read(value)
        if isinstance(value, dict):
            return {key: self.of(item, depth + 1) for key, item in value.items()}
        return type(value)([self.of(item, depth + 1) for item in value])

    def _items(self, value: Any) -> int:
        """Of a container whose contents are made; UnpicklingError for too many."""
        if isinstance(value, LazyTensor):
            return 1
        contents = value.values() if isinstance(value, dict) else value
        count = sum(self._made.get(id(item), (None, 1))[1] for item in contents) + 1
        if count > _MAX_ITEMS:
            raise pickle.UnpicklingError("its lists hold each other so often that they cannot be read")
        return count


def _rules(where: str, budget: Budget) -> Rules:
    def refuse(fact: str, hint: str) -> BadInputError:
        return BadInputError(f"The pickled data are refused: {fact}.", where=where, hint=hint)

    def known(module: str, name: str) -> Any:
        if module.startswith("torch_geometric.data") and name in _RECORDS:
            return Record
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return lambda data: _load_from_bytes(data, rules, budget)
        return _OWN.get((module, name)) or resolve(module, name)

    rules = Rules(known, refuse)
    return rules


@contextmanager
def _refusing(rules: Rules) -> Iterator[None]:
    """Errors of damaged contents as the error of ``rules``; nothing but our own code has run."""
    try:
        yield
    except JMPError:
        raise
    except Exception as error:
        raise rules.refuse(str(error) or type(error).__name__, "fetch it again") from error


def _load_from_bytes(data: object, rules: Rules, budget: Budget) -> LazyStorage:
    """A storage that was pickled inside a tensor."""
    if not isinstance(data, bytes):
        raise pickle.UnpicklingError("broken tensor")
    budget.take(len(data))
    numbers = _old_torch(data, rules, budget)
    if not isinstance(numbers, np.ndarray) or numbers.ndim != 1:
        raise pickle.UnpicklingError("broken tensor")
    kind = next(kind for kind in _KINDS if kind.dtype == _torch_name(numbers.dtype))
    return _LoadedStorage("0", kind, len(numbers), numbers)


def _scalar(kind: object, data: object = b"") -> Any:
    """A numpy number."""
    if not isinstance(kind, _NumpyType) or not isinstance(data, bytes):
        raise pickle.UnpicklingError("broken numpy number")
    return np.frombuffer(data, dtype=_plain_type(kind), count=1)[0].item()


def _numpy_type(code: object, *_: object) -> _NumpyType:
    if code not in _NUMPY_TYPES:
        raise pickle.UnpicklingError("an unknown numpy type")
    return _NumpyType(str(code))


def _plain_type(kind: _NumpyType) -> np.dtype[Any]:
    return np.dtype(kind.code).newbyteorder("=" if kind.order == "|" else kind.order)  # type: ignore[arg-type]


def _loaded(tensor: LazyTensor, budget: Budget) -> np.ndarray:
    if not isinstance(tensor.storage, _LoadedStorage):
        raise pickle.UnpicklingError("a tensor without numbers")
    return _strided(tensor.storage.numbers, tensor, budget)


def _strided(numbers: np.ndarray, tensor: LazyTensor, budget: Budget) -> np.ndarray:
    """The tensor's view of its storage (M,), as a copy; UnpicklingError unless it lies inside of it.

    Checked here, where the array is made, because as_strided itself checks nothing.
    """
    shape, stride, offset = tensor.shape, tensor.stride, tensor.offset
    if len(shape) != len(stride) or any(type(n) is not int or n < 0 for n in (offset, *shape, *stride)):
        raise pickle.UnpicklingError("broken tensor")
    items = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if items > len(numbers) or (items and last >= len(numbers)):
        raise pickle.UnpicklingError(f"a tensor of shape {shape} is larger than its storage")
    if not items:
        return np.zeros(shape, numbers.dtype)
    budget.take(items * numbers.itemsize)
    strides = tuple(step * numbers.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, strides, writeable=False).copy()


def _numbers(data: bytes, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":
        raise pickle.UnpicklingError("bfloat16 numbers")
    if dtype == "bool":
        return np.frombuffer(data, dtype=np.uint8) != 0
    return np.frombuffer(data, dtype=np.dtype(dtype).newbyteorder("<"))


def _torch_name(dtype: np.dtype[Any]) -> str:
    return str(dtype.name)


def _pickle_end(data: bytes, start: int, rules: Rules) -> int:
    """Position behind the pickle that begins at ``start``."""
    try:
        *_, (_, _, stop) = pickletools.genops(io.BytesIO(data[start:]))
    except Exception as error:  # pickletools raises many kinds for damaged input
        raise rules.refuse(f"its pickle is damaged ({error})", "fetch it again") from error
    if stop is None:
        raise rules.refuse("its pickle has no end", "fetch it again")
    return start + int(stop) + 1


_STORAGES = ("Double", "Float", "Half", "Long", "Int", "Short", "Char", "Byte", "Bool")
_KINDS = [kind for name in _STORAGES if isinstance(kind := resolve("torch", f"{name}Storage"), StorageType)]
_OWN: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _numpy_type,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("builtins", "object"): Inert,
}
