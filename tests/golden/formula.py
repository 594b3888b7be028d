"""The numbers that golden files are made of; tests/golden_value.h repeats them in C."""
import numpy as np


def value(stream, count):
    i = np.arange(count, dtype=np.uint32)
    h = i * np.uint32(2654435761) + np.uint32(stream)
    h ^= h >> np.uint32(15)
    h *= np.uint32(2246822519)
    h ^= h >> np.uint32(13)
    return (h >> np.uint32(8)).astype(np.float32) / np.float32(8388608.0) - np.float32(1.0)
