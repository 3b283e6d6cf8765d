"""Matrices of whole numbers from MATLAB files."""

from pathlib import Path

import numpy as np
from scipy.io import loadmat

from vreid.errors import InputError


def read_matrix(path: Path, variable: str, belongs: str) -> np.ndarray:
    """A matrix of whole numbers from a MATLAB file, as int64 (rows, columns), at least 1 × 1.

    `belongs` is what to say of a missing file. Raises InputError for one that is torn or foreign.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; {belongs}")
    try:
        contents = loadmat(path)
    except Exception as error:  # scipy's readers fail in a dozen ways on torn and foreign files
        raise InputError(f"{path}: not a readable MATLAB file ({error}); is it torn, or another file?") from None
    if variable not in contents:
        found = ", ".join(name for name in contents if not name.startswith("__")) or "nothing"
        raise InputError(f"{path}: holds no variable {variable!r} (found: {found})")
    matrix = np.asarray(contents[variable])
    if matrix.ndim != 2 or matrix.size == 0 or matrix.dtype.kind not in "iuf":
        raise InputError(f"{path}: {variable} is not a matrix of numbers")
    if not ((np.abs(matrix.astype(np.float64)) < 2**31) & (matrix == np.rint(matrix))).all():
        raise InputError(f"{path}: {variable} holds numbers that are not whole, or beyond 2^31")
    return matrix.astype(np.int64)
