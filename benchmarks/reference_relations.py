"""The nine reference relations in numpy; `crates/mercer-cli/benches/relations` holds the same in Rust.

A relation takes rows x (n, d) and y (m, d) and gives the float64 block (n, m). Inputs are uniform on
[-1, 1]^d; those of `digits` are scikit-learn's 8x8 digits with pixels / 16, shuffled, the first 1200 for
training. A test block is 1500 x 1500 fresh points (digits: the other 597 on both sides).
"""
from dataclasses import dataclass
from functools import cache
from typing import Callable

import numpy as np

A3 = np.array([[0.9, -0.6, 0.3], [0.2, 1.1, -0.8], [-0.5, 0.4, 0.7]])
M4 = np.array([[0.6, 0.1, -0.3, 0.2], [-0.2, 0.5, 0.4, 0.0], [0.3, -0.4, 0.7, 0.1], [0.0, 0.2, -0.1, 0.8]])


def distance2(x, y):
    """Squared distances; rounding can push tiny ones below zero."""
    return np.maximum(np.add.outer((x * x).sum(1), (y * y).sum(1)) - 2 * x @ y.T, 0)


def gaussian(length):
    return lambda x, y: np.exp(distance2(x, y) / (-2 * length**2))


def mixed(x, y):
    wave = np.cos(np.subtract.outer(2 * x[:, 1], y[:, 2]))
    return np.sin(3 * np.outer(x[:, 0], y[:, 0])) + wave * np.exp(-distance2(x, y))


def rotated(y):
    """Reflected along (1, ..., 1), then along (1, ..., d): orthogonal, and not symmetric."""
    for axis in (np.ones(y.shape[1]), np.arange(1.0, y.shape[1] + 1)):
        y = y - 2 * np.outer(y @ axis, axis) / (axis @ axis)
    return y


@dataclass(frozen=True)
class Reference:
    """A relation of rows with `dim` columns, and its class."""

    dim: int
    kind: str
    block: Callable


RELATIONS = {
    "gaussian-2": Reference(2, "symmetric", gaussian(0.5)),
    "gaussian-8": Reference(8, "symmetric", gaussian(1.5)),
    "matern-2": Reference(2, "symmetric", lambda x, y: np.exp(-np.sqrt(distance2(x, y)))),
    "mixed-3": Reference(3, "asymmetric", mixed),
    "relu-3": Reference(3, "asymmetric", lambda x, y: np.maximum(x @ (y @ A3.T).T, 0)),
    "negative-distance-3": Reference(3, "signed", lambda x, y: -np.sqrt(distance2(x, y))),
    "utility-quadratic-8": Reference(8, "asymmetric", lambda x, y: -distance2(x, rotated(y))),
    "utility-distance-4": Reference(4, "asymmetric", lambda x, y: -np.sqrt(distance2(x, y @ M4.T))),
    "digits": Reference(64, "symmetric", gaussian(2.5)),
}


@cache
def digits():
    from sklearn.datasets import load_digits

    return np.random.RandomState(0).permutation(load_digits().data / 16.0)


def draw(name, n, rng):
    """`n` training rows."""
    if name == "digits":
        return digits()[rng.randint(1200, size=n)]
    return rng.uniform(-1, 1, (n, RELATIONS[name].dim))


def test_block(name):
    """Rows x and y that no training draw repeats, and the relation on them."""
    if name == "digits":
        x = y = digits()[1200:]
    else:
        x, y = np.random.RandomState(12345).uniform(-1, 1, (2, 1500, RELATIONS[name].dim))
    return x, y, RELATIONS[name].block(x, y)


def floor(block, dim):
    """The relative root mean square error of the best inner product of dimension `dim` on the block."""
    energy = np.linalg.svd(block, compute_uv=False) ** 2
    return float(np.sqrt(energy[dim:].sum() / energy.sum()))


if __name__ == "__main__":
    for name in RELATIONS:
        print(f"{name:20} floor at dimension 64: {floor(test_block(name)[2], 64):.2e}")
