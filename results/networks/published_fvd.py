#!/usr/bin/env python3
"""A published number again: FVD between two sets of 128 clips of uniform noise, which universome/fvd-comparison gives as 10.138085 by
TensorFlow's network and code, and 10.138085 by StyleGAN-V's. Needs numpy and safetensors; an hour of one core.

    tests/real_i3d.py real.safetensors && forty weights import real.safetensors --as i3d -o i3d.safetensors
    published_fvd.py FORTY i3d.safetensors
"""
import os
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import load_file, save_file

forty, weights = sys.argv[1:]
sets = []
with tempfile.TemporaryDirectory() as d:
    x, y = os.path.join(d, "x.safetensors"), os.path.join(d, "y.safetensors")
    for seed in (1, 2):
        draw, rows = np.random.RandomState(seed), []
        for _ in range(0, 128, 8):  # its numbers go in as they are, in [0,1]
            clips = draw.rand(8, 16, 224, 224, 3).astype(np.float32).transpose(0, 4, 1, 2, 3)
            save_file({"x": np.ascontiguousarray(clips)}, x)
            subprocess.run([forty, "forward", "i3d", "--weights", weights, "--input", x, "-o", y, "--force", "--precision", "f32"], check=True)
            rows.append(load_file(y)["output"].astype(np.float64))
        sets.append(np.concatenate(rows))
(a, b), (ca, cb) = sets, (np.cov(s, rowvar=False) for s in sets)
w, v = np.linalg.eigh(ca)
root = v @ np.diag(np.sqrt(np.maximum(w, 0))) @ v.T
both = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cb @ root), 0)).sum()
print("FVD", ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca) + np.trace(cb) - 2 * both)
