"""Bounds what hashing the objects of a pickle can cost, before any of it runs.

A tuple made of the same tuple twice, again and again, takes a few bytes a level, but its hash visits every
part as often as it occurs: doubled at each level. Work can only multiply where an object is used once more
(from the memo, or by DUP), so the parts of what is used again are counted there.
"""

from __future__ import annotations

import pickletools

FREE_PARTS = 1_000_000
"""Parts that a pickle of any size may use again."""
MAX_DEPTH = 500
"""Tuples inside each other: their hash calls itself in C, where nothing else bounds it."""
_MARK = (0, 0)
"""On the stack; parts are at least 1."""
_HASHED = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE", "FROZENSET"}
_PUT = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GET = {"GET", "BINGET", "LONG_BINGET"}


class SharedParts:
    """Follows the stack of a pickle by the number of parts that hashing each object would visit."""

    def __init__(self, n_bytes: int) -> None:
        self._left = FREE_PARTS + 8 * n_bytes
        self._stack: list[tuple[int, int]] = []
        """Parts and depth of each object."""
        self._memo: dict[int, tuple[int, int]] = {}

    def follow(self, opcode: pickletools.OpcodeInfo, arg: object) -> None:
        """Take one instruction; ValueError if the stack has not what it needs, or if too much is shared or
        nested."""
        if opcode.name in _PUT:
            self._memo[arg if isinstance(arg, int) else len(self._memo)] = self._top()
        elif opcode.name in _GET:
            if not isinstance(arg, int) or arg not in self._memo:
                raise ValueError("a memo entry that was never made")
            self._use_again(self._memo[arg])
        elif opcode.name == "DUP":
            self._use_again(self._top())
        elif opcode.name == "POP":  # takes a mark, too
            if not self._stack:
                raise ValueError("nothing on the stack")
            self._stack.pop()
        else:
            self._apply(opcode, arg)

    def _apply(self, opcode: pickletools.OpcodeInfo, arg: object) -> None:
        taken: list[tuple[int, int]] = []
        for kind in reversed(opcode.stack_before):
            if kind is pickletools.stackslice:
                while self._stack and self._stack[-1] != _MARK:
                    taken.append(self._stack.pop())
            elif kind is pickletools.markobject:
                if not self._stack or self._stack.pop() != _MARK:
                    raise ValueError("no mark on the stack")
            elif opcode.name != "OBJ":  # its class is part of the slice
                taken.append(self._top())
                self._stack.pop()
        for kind in opcode.stack_after:
            self._stack.append(_MARK if kind is pickletools.markobject else _measure(opcode, arg, taken))

    def _top(self) -> tuple[int, int]:
        if not self._stack or self._stack[-1] == _MARK:
            raise ValueError("nothing on the stack")
        return self._stack[-1]

    def _use_again(self, item: tuple[int, int]) -> None:
        self._left -= item[0]
        if self._left < 0:
            raise ValueError("its objects share their parts so often that they cannot be handled")
        self._stack.append(item)


def _measure(opcode: pickletools.OpcodeInfo, arg: object, taken: list[tuple[int, int]]) -> tuple[int, int]:
    """Parts and depth of a new object; a long number is hashed, a long text shown, anew each time."""
    if opcode.name in _HASHED:
        depth = 1 + max((item[1] for item in taken), default=0)
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} tuples inside each other")
        return 1 + sum(item[0] for item in taken), depth
    if isinstance(arg, int):
        return 1 + arg.bit_length() // 30, 0
    return 1 + (len(arg) // 64 if isinstance(arg, str | bytes) else 0), 0
