#!/usr/bin/env python3
"""Writes logistic.safetensors for test_probe.c: probabilities of scikit-learn's LogisticRegression on numbers of a formula.

    python3 -m venv venv && venv/bin/pip install numpy scikit-learn safetensors
    venv/bin/python tests/golden/make_golden_logistic.py
"""
import os
import zlib

import numpy as np
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression

from formula import value

out = {}
for name, n, d, classes, strength in (("wide", 40, 200, 2, 0.1), ("strong", 40, 200, 2, 100.0), ("tall", 200, 12, 2, 1.0), ("three", 45, 60, 3, 0.5),
                                      ("many", 400, 400, 2, 0.05), ("many-three", 400, 150, 3, 0.2)):
    x = value(zlib.crc32(name.encode()), n * d).reshape(n, d)
    y = np.arange(n) % classes
    x[:, 0] += y  # something to learn
    w = 0.5 + (np.arange(n) % 5) / 4
    m = LogisticRegression(C=strength, tol=1e-10, max_iter=100000).fit(x.astype(np.float64), y, sample_weight=w)
    out[name] = m.predict_proba(x.astype(np.float64)).astype(np.float32)
# test_generated: six labelled videos, by which all is standardised, and four generated clips that weigh 0.5 times as much as they
real, made = (value(stream, n * 5).reshape(n, 5).astype(np.float64) for stream, n in ((3, 6), (9, 4)))
x = (np.concatenate([real, made]) - real.mean(0)) / real.std(0)
m = LogisticRegression(C=0.7, tol=1e-10, max_iter=100000).fit(x, [0, 1, 0, 1, 0, 1] + [1, 0, 1, 1], sample_weight=[1] * 6 + [0.5 * 6 / 4] * 4)
out["generated"] = m.predict_proba(x[:6]).astype(np.float32)
save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "logistic.safetensors"))
