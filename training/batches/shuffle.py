"""A shuffled order of any length without keeping it: a keyed permutation of 0 ... n-1, evaluated where it is
asked for.

A Feistel network permutes a power of two that is at most twice n (at least 256); what falls outside is
permuted again until it falls inside (cycle walking; Black and Rogaway, CT-RSA 2002). The rounds mix with the
finaliser of splitmix64.
"""

from __future__ import annotations

import numpy as np

from jmp_calc.errors import UsageError

_ROUNDS = 6
_LEAST_BITS = 8
"""Halves of fewer bits shuffle badly: a round has too few functions to choose from."""
_MOST_BITS = 62


class Permutation:
    """The order of one epoch: a function of (n, seed, epoch) on every machine, in memory that does not grow
    with n."""

    def __init__(self, n: int, seed: int, epoch: int = 0) -> None:
        """UsageError unless 0 <= n <= 2^62 and seed and epoch are not negative."""
        if not 0 <= n <= 1 << _MOST_BITS or seed < 0 or epoch < 0:
            raise UsageError(
                f"There is no shuffled order of {n} items for seed {seed} and epoch {epoch}.",
                hint="all three are whole numbers from 0",
            )
        self.n = n
        bits = max((n - 1).bit_length(), _LEAST_BITS)
        self._left, self._right = bits // 2, bits - bits // 2
        self._keys = np.random.SeedSequence([seed, epoch]).generate_state(_ROUNDS, np.uint64)

    def __len__(self) -> int:
        return self.n

    def block(self, start: int, stop: int) -> np.ndarray:
        """(stop - start,) int64: the items at places start ... stop-1 of the order; UsageError outside 0 ...
        n."""
        if not 0 <= start <= stop <= self.n:
            raise UsageError(f"Places {start} to {stop} are not in an order of {self.n} items.")
        values = self._permuted(np.arange(start, stop, dtype=np.uint64))
        outside = np.flatnonzero(values >= self.n)
        while len(outside):
            values[outside] = self._permuted(values[outside])
            outside = outside[values[outside] >= self.n]
        return values.astype(np.int64)

    def _permuted(self, values: np.ndarray) -> np.ndarray:
        high_bits, low_bits = self._left, self._right
        high, low = values >> np.uint64(low_bits), values & _mask(low_bits)
        for (
            key
        ) in self._keys:  # an even number of rounds, so that halves of unequal bits end where they began
            high, low = low, high ^ (_mixed(low + key) & _mask(high_bits))
            high_bits, low_bits = low_bits, high_bits
        result: np.ndarray = (high << np.uint64(low_bits)) | low
        return result


def _mask(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (arithmetic modulo 2^64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
