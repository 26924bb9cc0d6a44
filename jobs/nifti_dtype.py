"""Which number type does a NIfTI file hold, and which is the smallest that holds it exactly?"""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np

DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
DTYPES |= {1024: "i8", 1280: "u8"}
"""NIfTI datatype codes that hold one real number a voxel."""

_INTEGERS = ("u1", "i1", "u2", "i2", "u4", "i4")


def datatype_name(code: int) -> str:
    """What NIfTI calls a datatype code."""
    try:
        return str(nib.nifti1.data_type_codes.label[code])
    except KeyError:
        return "unknown"


def stored_dtype(dtype: np.dtype[Any], slope: float, inter: float) -> np.dtype[Any]:
    """Smallest native type that provably holds slope * value + inter for all values of `dtype`.

    Parameters
    ----------
    dtype : np.dtype
        On disk.
    slope, inter : float
        1 and 0 for none.

    Returns
    -------
    np.dtype
        Of `DTYPES`, without 64-bit integers: those become float64, as do scaled floats and
        whatever cannot be proven to fit less.
    """
    native = np.dtype(dtype.str[1:])
    if (slope, inter) == (1.0, 0.0):
        return np.dtype("f8") if native in ("i8", "u8") else native
    if dtype.kind == "f" or dtype.itemsize == 8:
        return np.dtype("f8")
    limits = np.iinfo(dtype)
    return smallest_dtype(int(limits.min), int(limits.max), slope, inter)


def smallest_dtype(low: int, high: int, slope: float, inter: float) -> np.dtype[Any]:
    """Smallest native type that holds slope * value + inter for all integers from low to high.

    Parameters
    ----------
    low, high : int
        Below 2**32 in size.
    slope, inter : float
        Finite; 1 and 0 for none.

    Returns
    -------
    np.dtype
        An integer of 8 to 32 bits, else float32 or float64.
    """
    # Doubles are fractions over powers of two, so this is exact integer arithmetic.
    (p, q), (r, s) = slope.as_integer_ratio(), inter.as_integer_ratio()
    denominator = max(q, s)
    ends = [p * (denominator // q) * v + r * (denominator // s) for v in (low, high)]
    if denominator == 1:
        for name in _INTEGERS:
            fits = np.iinfo(name)
            if fits.min <= min(ends) and max(ends) <= fits.max:
                return np.dtype(name)
    exact_in_float32 = max(abs(n) for n in ends) <= 2**24 and denominator <= 2**100
    return np.dtype("f4" if exact_in_float32 else "f8")
