#!/usr/bin/env python3
"""Writes memorisation.h: copies of training clips by NumPy, precision and its kin by scikit-learn's neighbours, on vectors that test_memorisation.c makes by the same formula.
venv/bin/python tests/golden/make_golden_memorisation.py (numpy, scikit-learn)"""
import os
import subprocess

import numpy as np
from formula import value
from sklearn.metrics import pairwise_distances

D, TRAIN, HELD, MADE = 24, 12, 8, 10


def far(stream):
    return stream * 1000003  # neighbouring streams are alike


common = 3 * value(far(1), D).astype(float)


def rows(stream, n):
    return value(far(stream), n * D).astype(float).reshape(n, D) + common


train, held, made = rows(2, TRAIN), rows(3, HELD), rows(4, MADE)
mirror = train[:, ::-1]
for i in range(6):  # the first are copies with ever more noise, every other one mirrored
    made[i] = (mirror if i % 2 else train)[(5 * i) % TRAIN] + 0.2 * i * value(far(5 + i), D)
train, mirror, held, made = (a.astype(np.float32).astype(float) for a in (train, mirror, held, made))
videos = np.arange(TRAIN) // 3
mean = np.concatenate([train, mirror]).mean(0)


def unit(x):
    x = x - mean
    x = x - x.mean(1, keepdims=True)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def correlation(x):
    return np.maximum(unit(x) @ unit(train).T, unit(x) @ unit(mirror).T)


def ratio(x):
    d = np.minimum(np.linalg.norm(x[:, None] - train, axis=2), np.linalg.norm(x[:, None] - mirror, axis=2))
    out = []
    for row in d:
        k = row.argmin()
        out.append(row[k] / row[videos != videos[k]].min())
    return np.array(out)


tau = np.quantile(correlation(held).max(0), 0.95)
c, h = correlation(made), correlation(held)
copy = c.max(1) > tau
shown = len(set(videos[c.argmax(1)[copy]])) / (videos.max() + 1)
out = ["/* by make_golden_memorisation.py: NumPy */",
       "/* tau; shares of made and held-out clips above it, and that pass the ratio test; coverage; medians */",
       "static const double golden_copies[] = {%s};" % ", ".join("%.16g" % v for v in (
           tau, copy.mean(), (h.max(1) > tau).mean(), (ratio(made) < 1 / 3).mean(), (ratio(held) < 1 / 3).mean(), shown,
           np.median(c.max(1)), np.median(h.max(1)))),
       "/* nearest training clip, correlation, ratio of each made clip */",
       "static const double golden_recall[][3] = {"]
out += ["    {%d, %.16g, %.16g}," % (c[i].argmax(), c[i].max(), ratio(made)[i]) for i in range(MADE)]
out.append("};")


def prdc(real, made, k):
    """Naeem et al. 2020, as their code has it."""
    def balls(x):
        return np.sort(pairwise_distances(x), 1)[:, k]  # behind itself
    d = pairwise_distances(real, made)
    inside = d <= balls(real)[:, None]
    return inside.any(0).mean(), (d <= balls(made)).any(1).mean(), inside.sum(0).mean() / k, inside.any(1).mean()


out += ["/* k, precision, recall, density, coverage of the made clips against the training clips */", "static const double golden_prdc[][5] = {"]
out += ["    {%d, %s}," % (k, ", ".join("%.16g" % v for v in prdc(train, made, k))) for k in (1, 3, 5)]
out.append("};")


def mmd(real, made, videos):
    """Binkowski et al. 2018: means over pairs of different clips, and of different videos."""
    def k(x, y):
        return (x @ y.T / D + 1) ** 3
    other = videos[:, None] != videos
    return k(real, real)[other].mean() + k(made, made)[~np.eye(len(made), dtype=bool)].mean() - 2 * k(real, made).mean()


out += ["/* MMD of the made clips and the training clips, each its own video; of four videos; mean of the kernel between them */",
        "static const double golden_mmd[] = {%.16g, %.16g, %.16g};" % (mmd(train, made, np.arange(TRAIN)), mmd(train, made, videos), ((train @ made.T / D + 1) ** 3).mean())]
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "memorisation.h")
with open(path, "w") as f:
    f.write("\n".join(out) + "\n")
subprocess.run(["clang-format", "-i", path], check=True)
