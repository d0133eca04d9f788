"""Polynomial angular functions: Legendre, real spherical harmonics, Fourier modes about a bond.

All are polynomials of unit vectors, evaluated through small constant matrices: no angles, no clamps, and
derivatives of every order exist everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.polynomial import legendre, polynomial
from torch import Tensor

Matrix = np.ndarray


@lru_cache
def legendre_matrix(degrees: int) -> Matrix:
    """(L, L), powers by degrees: Y_l(z) = √((2l+1)/4π) P_l(z) as polynomial coefficients of z (eq. 5.2)."""
    matrix = np.zeros((degrees, degrees))
    for degree in range(degrees):
        coefficients = legendre.leg2poly([0.0] * degree + [1.0])
        matrix[: degree + 1, degree] = math.sqrt((2 * degree + 1) / (4 * math.pi)) * coefficients
    return matrix


@lru_cache
def fourier_matrix(degrees: int) -> Matrix:
    """α (L, L), degrees by modes, with Y_l(cos ϑ) = Σ_m α[l, m] cos mϑ."""
    angles = np.pi * (np.arange(degrees) + 0.5) / degrees
    modes = np.cos(np.outer(angles, np.arange(degrees)))
    values = powers_numpy(np.cos(angles), degrees) @ legendre_matrix(degrees)
    return np.linalg.solve(modes, values).T


@lru_cache
def right_angle_values(degrees: int) -> Matrix:
    """(L,) Y_l(0): what the published network uses where a dihedral is undefined (section 5.3)."""
    return legendre_matrix(degrees)[0].copy()


def powers_numpy(x: Matrix, count: int) -> Matrix:
    """(n, count) powers x^0 ... x^(count-1)."""
    return x[:, None] ** np.arange(count)


@lru_cache
def harmonics_matrix(degrees: int) -> Matrix:
    """(L (2 L - 1), L²): real Y_lm from products z^p · {1, Re(x+iy)^m, Im(x+iy)^m}."""
    modes = 2 * degrees - 1
    matrix = np.zeros((degrees, modes, degrees**2))
    for degree in range(degrees):
        base = legendre.leg2poly([0.0] * degree + [1.0])
        for order in range(degree + 1):
            derivative = polynomial.polyder(base, order) if order else base
            norm = math.sqrt(
                (2 * degree + 1)
                / (4 * math.pi)
                * math.factorial(degree - order)
                / math.factorial(degree + order)
            ) * (math.sqrt(2.0) if order else 1.0)
            for sign in (1, -1)[: 1 if order == 0 else 2]:
                mode = 0 if order == 0 else 2 * order - (1 if sign > 0 else 0)
                matrix[: len(derivative), mode, degree**2 + degree + sign * order] = norm * derivative
    return matrix.reshape(degrees * modes, degrees**2)


def constant(make: Callable[[int], Matrix], degrees: int, like: Tensor) -> Tensor:
    """The matrix ``make(degrees)``, (L, ...), on the device and in the precision of ``like``, made once."""
    return _on_device(make, degrees, like.dtype, like.device)


@lru_cache
def _on_device(
    make: Callable[[int], Matrix], degrees: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The matrix, (L, ...), on a device and in a precision."""
    with torch.inference_mode(False):  # one made inside the caller's inference mode could not be reused
        return torch.as_tensor(make(degrees), dtype=dtype, device=device)


def powers(x: Tensor, count: int) -> Tensor:
    """(N, count) or (..., count): x^0 ... x^(count-1) by repeated products, x (N,) or (...)."""
    result = [torch.ones_like(x)]
    for _ in range(count - 1):
        result.append(result[-1] * x)
    return torch.stack(result, dim=-1)


def complex_modes(x: Tensor, y: Tensor, count: int) -> Tensor:
    """(N, 2 count - 1) or (..., 2 count - 1): 1, Re (x+iy), Im (x+iy), Re (x+iy)², ... up to power count -
    1."""
    result = [torch.ones_like(x)]
    real, imaginary = result[0], torch.zeros_like(x)
    for _ in range(count - 1):
        real, imaginary = real * x - imaginary * y, real * y + imaginary * x
        result += [real, imaginary]
    return torch.stack(result, dim=-1)


def legendre_values(cosine: Tensor, degrees: int) -> Tensor:
    """Y_l(cos φ), shape (N, L) or (..., L), of cosines (N,) or (...)."""
    return powers(cosine, degrees) @ constant(legendre_matrix, degrees, cosine)


@lru_cache
def monomials(degree: int) -> tuple[tuple[int, int, int], ...]:
    """Exponents (a, b, c) of all x^a y^b z^c of one degree."""
    return tuple((a, b, degree - a - b) for a in range(degree, -1, -1) for b in range(degree - a, -1, -1))


def last_step(exponents: tuple[int, int, int]) -> tuple[tuple[int, ...], int]:
    """A monomial as one of the degree below times x, y or z (0, 1, 2)."""
    axis = next(i for i in range(3) if exponents[i])
    return tuple(e - (i == axis) for i, e in enumerate(exponents)), axis


@lru_cache
def monomial_parents(degree: int) -> Matrix:
    """0/1 matrix (N, K): from which monomial of degree d - 1 (N) each of degree d (K) comes."""
    parents = [last_step(exponents)[0] for exponents in monomials(degree)]
    return np.array(
        [[before == parent for parent in parents] for before in monomials(degree - 1)], dtype=float
    )


@lru_cache
def monomial_axes(degree: int) -> Matrix:
    """0/1 matrix (3, n_d): by which of x, y and z it is then multiplied."""
    axes = [last_step(exponents)[1] for exponents in monomials(degree)]
    return np.array([[axis == i for axis in axes] for i in range(3)], dtype=float)


@lru_cache
def monomial_matrix(degrees: int) -> Matrix:
    """(K, L²): real Y_lm of a unit vector as coefficients of the K monomials of degrees 0 to L - 1."""
    every = [exponents for degree in range(degrees) for exponents in monomials(degree)]
    rows = {exponents: number for number, exponents in enumerate(every)}
    products = np.zeros((len(every), degrees, 2 * degrees - 1))
    for order in range(degrees):  # (x + iy)^order = Σ_j binom(order, j) x^(order-j) (iy)^j
        for j in range(order + 1):
            value = math.comb(order, j) * 1j**j
            for power in range(degrees - order):
                row = rows[(order - j, j, power)]
                products[row, power, max(2 * order - 1, 0)] += value.real
                if order:
                    products[row, power, 2 * order] += value.imag
    return products.reshape(len(every), -1) @ harmonics_matrix(degrees)


def spherical_harmonics(unit: Tensor, degrees: int) -> Tensor:
    """Real spherical harmonics of unit vectors (E, 3), shape (E, L²), l-major."""
    powers_of_unit = [torch.ones_like(unit[:, :1]), unit][:degrees]
    for degree in range(2, degrees):
        from_before, along = (constant(make, degree, unit) for make in (monomial_parents, monomial_axes))
        powers_of_unit.append((powers_of_unit[-1] @ from_before) * (unit @ along))
    return torch.cat(powers_of_unit, dim=1) @ constant(monomial_matrix, degrees, unit)


def perpendicular_frame(axis: Tensor) -> tuple[Tensor, Tensor]:
    """Two unit vectors (E, 3) that complete ``axis`` (E, 3, unit) to a frame, differentiable for every
    direction.

    Duff et al., J. Comput. Graph. Tech. 6(1), 1 (2017). The frame turns where z changes sign; only
    differences of azimuths about the axis are ever used, so nothing else does.
    """
    x, y, z = axis.unbind(-1)
    sign = torch.where(z < 0, -1.0, 1.0).to(axis.dtype)
    a = -1.0 / (sign + z)
    b = x * y * a
    first = torch.stack([1.0 + sign * x * x * a, sign * b, -sign * x], dim=-1)
    second = torch.stack([b, sign + y * y * a, -y], dim=-1)
    return first, second
