"""Weights as whole numbers of four bits: the nearest, or such as make up for each other's errors."""

import numpy as np

GROUP = 32  # weights of a row that share a scale
MOST = 7  # the greatest whole number that a weight becomes
DAMPING = 0.01  # of the moments' mean, Frantar et al. 2023, section 3.3


def rounded(matrix, moments=None):
    """The numbers and scales of a matrix.

    The scale of a group is the one of several, at most as large as brings its largest weight to 7,
    that leaves the least squared error: what is beyond 7 is cut off (as OCTAV and others do).

    Args:
      matrix: float32 [O, I], I a multiple of GROUP.
      moments: float [I, I], the sum of x x^T over inputs x that the matrix has been multiplied by, for
        GPTQ (Frantar et al. 2023): what a column's rounding does to those products the columns
        behind it make up for. None to round each to the nearest.

    Returns:
      (int8 [O, I] from -7 to 7, float32 [O, I / GROUP]).
    """
    if moments is None:
        groups = matrix.reshape(len(matrix), -1, GROUP)
        scales = scales_of(groups)
        return nearest(groups, scales[..., None]).reshape(matrix.shape), scales
    # Upper triangular, with U^T U the inverse of the moments.
    damped = moments + max(DAMPING * np.trace(moments) / len(moments), 1e-6) * np.eye(len(moments))
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T.astype("float32")
    left, numbers, scales = matrix.copy(), [], []
    for start in range(0, matrix.shape[1], GROUP):
        group = left[:, start : start + GROUP]
        scale = scales_of(group)
        errors = np.zeros_like(group)
        for i in range(GROUP):
            row = upper[start + i, start : start + GROUP]
            numbers.append(nearest(group[:, i], scale))
            errors[:, i] = (group[:, i] - numbers[-1] * scale) / row[i]
            group[:, i + 1 :] -= errors[:, i : i + 1] * row[i + 1 :]
        scales.append(scale)
        left[:, start + GROUP :] -= errors @ upper[start : start + GROUP, start + GROUP :]
    return np.stack(numbers, axis=1), np.stack(scales, axis=1)


def nearest(weights, scales):
    return np.clip(np.rint(weights / scales), -MOST, MOST).astype("int8")


def scales_of(groups):
    """float32 [..., GROUP] -> [...]"""
    whole = np.maximum(np.abs(groups).max(axis=-1) / MOST, 1e-30)
    best, found = np.full_like(whole, np.inf), whole
    for share in np.linspace(1, 0.7, 7, dtype="float32"):
        scales = share * whole
        again = nearest(groups, scales[..., None]) * scales[..., None]
        error = np.square(again - groups).sum(axis=-1)
        found = np.where(error < best, scales, found)
        best = np.minimum(error, best)
    return found
