"""Polynomial angular functions: Legendre, real spherical harmonics, Fourier modes about a bond.

All are polynomials of unit vectors, evaluated through small constant matrices: no angles, no clamps, and derivatives
of every order exist everywhere.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.polynomial import legendre, polynomial
from torch import Tensor

Matrix = np.ndarray


@lru_cache
def legendre_matrix(degrees: int) -> Matrix:
    """(powers, degrees): Y_l(z) = √((2l+1)/4π) P_l(z) as polynomial coefficients of z (eq. 5.2)."""
    matrix = np.zeros((degrees, degrees))
    for degree in range(degrees):
        coefficients = legendre.leg2poly([0.0] * degree + [1.0])
        matrix[: degree + 1, degree] = math.sqrt((2 * degree + 1) / (4 * math.pi)) * coefficients
    return matrix


@lru_cache
def fourier_matrix(degrees: int) -> Matrix:
    """(degrees, modes) α with Y_l(cos ϑ) = Σ_m α[l, m] cos mϑ."""
    angles = np.pi * (np.arange(degrees) + 0.5) / degrees
    modes = np.cos(np.outer(angles, np.arange(degrees)))
    values = powers_numpy(np.cos(angles), degrees) @ legendre_matrix(degrees)
    return np.linalg.solve(modes, values).T


@lru_cache
def right_angle_values(degrees: int) -> Matrix:
    """(degrees,) Y_l(0): what the published network uses where a dihedral is undefined (section 5.3)."""
    return legendre_matrix(degrees)[0].copy()


def powers_numpy(x: Matrix, count: int) -> Matrix:
    """(n, count) powers x^0 ... x^(count-1)."""
    return x[:, None] ** np.arange(count)


@lru_cache
def harmonics_matrix(degrees: int) -> Matrix:
    """(degrees * (2 degrees - 1), degrees²): real Y_lm from products z^p · {1, Re(x+iy)^m, Im(x+iy)^m}."""
    modes = 2 * degrees - 1
    matrix = np.zeros((degrees, modes, degrees**2))
    for degree in range(degrees):
        base = legendre.leg2poly([0.0] * degree + [1.0])
        for order in range(degree + 1):
            derivative = polynomial.polyder(base, order) if order else base
            norm = math.sqrt(
                (2 * degree + 1) / (4 * math.pi) * math.factorial(degree - order) / math.factorial(degree + order)
            ) * (math.sqrt(2.0) if order else 1.0)
            for sign in (1, -1)[: 1 if order == 0 else 2]:
                mode = 0 if order == 0 else 2 * order - (1 if sign > 0 else 0)
                matrix[: len(derivative), mode, degree**2 + degree + sign * order] = norm * derivative
    return matrix.reshape(degrees * modes, degrees**2)


def constant(matrix: Matrix, like: Tensor) -> Tensor:
    """A constant matrix on the device and in the precision of ``like``."""
    return torch.as_tensor(matrix, dtype=like.dtype, device=like.device)


def powers(x: Tensor, count: int) -> Tensor:
    """(..., count): x^0 ... x^(count-1) by repeated products."""
    result = [torch.ones_like(x)]
    for _ in range(count - 1):
        result.append(result[-1] * x)
    return torch.stack(result, dim=-1)


def complex_modes(x: Tensor, y: Tensor, count: int) -> Tensor:
    """(..., 2 count - 1): 1, Re (x+iy), Im (x+iy), Re (x+iy)², ... up to power count - 1."""
    result = [torch.ones_like(x)]
    real, imaginary = result[0], torch.zeros_like(x)
    for _ in range(count - 1):
        real, imaginary = real * x - imaginary * y, real * y + imaginary * x
        result += [real, imaginary]
    return torch.stack(result, dim=-1)


def legendre_values(cosine: Tensor, degrees: int) -> Tensor:
    """Y_l(cos φ), shape (..., degrees)."""
    return powers(cosine, degrees) @ constant(legendre_matrix(degrees), cosine)


def spherical_harmonics(unit: Tensor, degrees: int) -> Tensor:
    """Real spherical harmonics of unit vectors (E, 3), shape (E, degrees²), l-major."""
    x, y, z = unit.unbind(-1)
    products = powers(z, degrees).unsqueeze(-1) * complex_modes(x, y, degrees).unsqueeze(-2)
    return products.flatten(-2) @ constant(harmonics_matrix(degrees), unit)


def perpendicular_frame(axis: Tensor) -> tuple[Tensor, Tensor]:
    """Two unit vectors (E, 3) that complete ``axis`` (E, 3, unit) to a frame, differentiable for every direction.

    Duff et al., J. Comput. Graph. Tech. 6(1), 1 (2017). The frame turns where z changes sign; only differences of
    azimuths about the axis are ever used, so nothing else does.
    """
    x, y, z = axis.unbind(-1)
    sign = torch.where(z < 0, -1.0, 1.0).to(axis.dtype)
    a = -1.0 / (sign + z)
    b = x * y * a
    first = torch.stack([1.0 + sign * x * x * a, sign * b, -sign * x], dim=-1)
    second = torch.stack([b, sign + y * y * a, -y], dim=-1)
    return first, second
