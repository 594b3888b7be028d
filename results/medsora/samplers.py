#!/usr/bin/env python3
"""UniPC in 20 steps against DDIM in 250: the same trained networks, the same noise, scored against held-out clips.

    venv/bin/python results/medsora/samplers.py build/release/forty CLIPS.h5 RUN [RUN ...]          (needs h5py and numpy)

RUNs are generators (of several seeds) trained on CLIPS.h5 without its videos of the split `test`. Score: Frechet distance of 64 clips
to the held-out ones, over the 32 principal components (of the training clips) of 8x8 colours at 4 times: what a clip looks like and
how it moves, without any learned judge. `real` is the training clips' own distance to the held-out ones."""
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from frechet import frechet, look

forty, store, *runs = sys.argv[1:]


with h5py.File(store) as f:
    split = [s.decode() if isinstance(s, bytes) else s for s in f["video/split"][:]]
    test = np.array([split[v] == "test" for v in f["clip/video"][:]])
    clips = look(f["clips"][:])
train, held = clips[~test], clips[test]
mean = train.mean(0)
basis = np.linalg.svd(train - mean, full_matrices=False)[2][:32].T
held = (held - mean) @ basis
print(f"held-out clips: {len(held)}; real {1000 * frechet((train - mean) @ basis, held):.1f}", flush=True)
kinds = [("unipc", 20), ("ddim", 250), ("ddim", 20)]
scores = {k: [] for k in kinds}
for run in runs:
    for kind in kinds:
        out = os.path.join(tempfile.gettempdir(), f"samplers-{os.getpid()}.h5")
        subprocess.run([forty, "generate", run, "-n", "64", "-o", out, "--force", "--quiet", "--sampler", kind[0], "--steps", str(kind[1])], check=True, stdout=subprocess.DEVNULL)
        with h5py.File(out) as f:
            scores[kind].append(1000 * frechet((look(f["clips"][:]) - mean) @ basis, held))
        os.remove(out)
    print(run, {f"{k}-{n}": round(float(s[-1]), 1) for (k, n), s in scores.items()}, flush=True)
for (k, n), s in scores.items():
    d = np.array(s) - np.array(scores[kinds[0]])
    print(f"| {k}, {n} steps | {np.mean(s):.1f} ± {np.std(s, ddof=1):.1f} | {d.mean():+.1f} ± {d.std(ddof=1):.1f} |")
