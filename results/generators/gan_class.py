#!/usr/bin/env python3
"""Does a clip that a GAN drew of a class show it? A logistic regression on frozen DINOv2 features of real clips, asked about held-out real
clips, and about 100 drawn ones of each class.

    venv/bin/python results/generators/gan_class.py build/release/forty DINOV2.safetensors CLIPS.h5 HELD_OUT.h5 RUN [...]   (h5py, safetensors, scikit-learn)

RUN: a folder of `forty train` with generator.condition=labels, trained on CLIPS.h5. Intervals: Wilson's, 95 %."""
import subprocess
import sys
import warnings

import h5py
import numpy as np
from safetensors.numpy import load_file
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

warnings.filterwarnings("ignore", category=FutureWarning)
forty, dino, train, held, *runs = sys.argv[1:]


def run(*a):
    r = subprocess.run([forty, *a, "--threads", "1", "--quiet", "--force"], capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"{' '.join(a)}\n{r.stderr}")


def seen(path):
    """features (videos, width), labels"""
    out = path + ".features.safetensors"
    run("features", path, "--model", "dinov2-s14", "--weights", dino, "-o", out, "--set", "features.size=126", "--set", "features.frames=4")
    with h5py.File(path) as f:
        name, label = ([x.decode() for x in f[f"video/{k}"][:]] for k in ("name", "label"))
    x = load_file(out)
    return np.stack([x[n].reshape(-1) for n in name]), np.array(label)


def share(right):
    n, p, z = len(right), np.mean(right), 1.96
    middle, half = (p + z * z / 2 / n) / (1 + z * z / n), z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    return f"{100 * p:.1f} % [{100 * (middle - half):.1f}, {100 * (middle + half):.1f}]"


x, y = seen(train)
judge = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=10, max_iter=4000)).fit(x, y)
x, y = seen(held)
print(f"held-out real clips: {share(judge.predict(x) == y)} right")
for folder in runs:
    run("generate", folder, "-n", "200", "-o", folder + ".h5")
    x, y = seen(folder + ".h5")
    said = judge.predict(x)
    print(f"{folder}: {share(said == y)} show the class that they were drawn of; " + ", ".join(f"{c}: {np.mean(said == c):.0%}" for c in np.unique(y)) + " of all are taken for it")
