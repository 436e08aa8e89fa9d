"""Deterministic weights for parity tests: the same state dict in any implementation.

Every parameter is a function of (its state-dict key, its shape, a seed) alone, so two
implementations that use the same key names hold exactly the same numbers, and no weight
file has to be stored.

    weights = {k: fill(k, tuple(v.shape), seed) for k, v in model.state_dict().items()}

Relative-position tables, position embeddings and biases are NOT zero here (as they are in a
freshly built model): a wrong position bias or a wrongly padded window changes the output by O(1).
"""

import zlib

import numpy as np


def fill(key: str, shape: tuple, seed: int = 0) -> np.ndarray:
    """Return the float32 array for one state-dict entry."""
    rng = np.random.Generator(np.random.PCG64([zlib.crc32(key.encode()), seed]))
    noise = rng.standard_normal(shape, dtype=np.float32)
    if "rel_pos" in key or "pos_embed" in key:
        return 0.3 * noise
    if (
        "gaussian_matrix" in key
        or ("embed" in key and len(shape) == 2)
        or ("token" in key and len(shape) == 2 and shape[0] <= 4)
    ):
        return noise
    if len(shape) <= 1:  # biases and normalisation weights
        is_norm_weight = key.endswith("weight")
        return (1.0 if is_norm_weight else 0.0) + np.float32(0.2) * noise
    fan_in = int(np.prod(shape[1:]))
    return noise * np.float32(fan_in) ** np.float32(-0.5)


def patch(seed: int, size: int = 128, channels: int = 1) -> np.ndarray:
    """Return a (channels, size, size, size) float32 test patch: smooth blobs plus noise, zero mean, unit variance."""
    rng = np.random.Generator(np.random.PCG64(seed))
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    out = np.zeros((channels, size, size, size), np.float32)
    for c in range(channels):
        for cx, cy, cz, r, a in rng.uniform([-0.6, -0.6, -0.6, 0.15, 0.5], [0.6, 0.6, 0.6, 0.6, 2.0], (6, 5)):
            out[c] += a * np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * r * r)).astype(np.float32)
        out[c] += 0.1 * rng.standard_normal((size, size, size), dtype=np.float32)
    return ((out - out.mean()) / out.std()).astype(np.float32)
