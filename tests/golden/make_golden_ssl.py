#!/usr/bin/env python3
"""Writes ssl.safetensors: 1,000 steps of every semi-supervised rule in double precision, from the published update rules.
Only numpy: venv/bin/python tests/golden/make_golden_ssl.py

Logits are a formula of the step that test_ssl.c repeats; they grow more confident, so that thresholds are crossed. Written for
each algorithm: loss and utilisation of every step (2,1000)."""
import json
import os
import struct

import numpy as np

from formula import value

STEPS, U, C, N, M = 1000, 6, 3, 40, 0.95  # M: momentum, short so that states move


def inputs(step):
    grow = np.float32(1 + 5 * step / STEPS)
    weak, strong, teacher = ((value(step * 3 + k, U * C) * grow * np.float32(2)).astype(np.float64).reshape(U, C) for k in range(3))
    weak[:, 0] += 1.5  # one class is more frequent
    return weak, strong, teacher, [(step * U + i) * 7 % N for i in range(U)]


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def xent(logits, label, weight):
    return -(weight * np.log(softmax(logits)[np.arange(U), label])).mean()


def norm(x):
    return x / x.sum(-1, keepdims=True)


def fixmatch(align=None):
    mean = np.full(C, 1 / C)

    def rule(step, weak, strong, teacher, index):
        nonlocal mean
        p = softmax(weak)
        if align is not None:
            mean = M * mean + (1 - M) * p.mean(0)
            p = norm(p * align / mean)
        mask = p.max(1) >= 0.95
        return xent(strong, p.argmax(1), mask), mask.mean()

    return rule


def pseudolabel(step, weak, strong, teacher, index):
    p = softmax(weak)
    mask = p.max(1) >= 0.95
    return min(step / STEPS / 0.4, 1) * xent(weak, p.argmax(1), mask), mask.mean()


def meanteacher(step, weak, strong, teacher, index):
    return min(step / STEPS / 0.4, 1) * ((softmax(strong) - softmax(teacher)) ** 2).mean(), 0


def flexmatch():
    known = np.full(N, -1)

    def rule(step, weak, strong, teacher, index):
        count, unknown = np.array([(known == c).sum() for c in range(C)]), (known == -1).sum()
        beta = count / max(count.max(), unknown)
        p = softmax(weak)
        label, top = p.argmax(1), p.max(1)
        mask = top >= 0.95 * (beta / (2 - beta))[label]
        for i in range(U):
            if top[i] >= 0.95:
                known[index[i]] = label[i]
        return xent(strong, label, mask), mask.mean()

    return rule


def freematch():
    tau, mean, hist = 1 / C, np.full(C, 1 / C), np.full(C, 1 / C)
    count = lambda label, weight=None: np.bincount(label, weight, C)

    def rule(step, weak, strong, teacher, index):
        nonlocal tau, mean, hist
        p, q = softmax(weak), softmax(strong)
        label, top = p.argmax(1), p.max(1)
        tau = M * tau + (1 - M) * top.mean()
        mean = M * mean + (1 - M) * p.mean(0)
        hist = M * hist + (1 - M) * count(label) / U
        mask = top >= (tau * mean / mean.max())[label]
        loss = xent(strong, label, mask)
        if mask.any():
            a, h = q[mask].mean(0), count(q[mask].argmax(1)) / mask.sum()
            b = norm(np.where(h > 0, a / np.where(h > 0, h, 1), 0))
            loss += 0.001 * (norm(mean / hist) * np.log(b + 1e-12)).sum()
        return loss, mask.mean()

    return rule


def softmatch():
    mean, mu, var = None, 1 / C, 1.0

    def rule(step, weak, strong, teacher, index):
        nonlocal mean, mu, var
        p = softmax(weak)
        mean = p.mean(0) if mean is None else M * mean + (1 - M) * p.mean(0)
        top = norm(p * (1 / C + 1e-6) / (mean + 1e-6)).max(1)
        mu = M * mu + (1 - M) * top.mean()
        var = M * var + (1 - M) * top.var(ddof=1)
        w = np.exp(-(np.minimum(top - mu, 0) ** 2) / (2 * var / 4))
        return xent(strong, weak.argmax(1), w), w.mean()

    return rule


def endora():
    queue = []

    def rule(step, weak, strong, teacher, index):
        nonlocal queue
        p = softmax(weak)
        if step % 50 == 0:  # an epoch longer than the queue, so that both its ends are seen
            queue = []
        queue = (queue + [p.mean(0)])[-32:]
        p = norm(p / np.mean(queue, 0))
        mask = p.max(1) >= 0.95
        return xent(weak, p.argmax(1), mask), mask.mean()

    return rule


RULES = {"fixmatch": fixmatch(), "fixmatch-uniform": fixmatch(1.0), "fixmatch-labelled": fixmatch(np.array([0.5, 0.3, 0.2])), "pseudolabel": pseudolabel,
         "meanteacher": meanteacher, "flexmatch": flexmatch(), "freematch": freematch(), "softmatch": softmatch(), "endora": endora()}
header, data = {}, b""
for name, rule in RULES.items():
    out = np.array([rule(s, *inputs(s)) for s in range(STEPS)]).T.astype("<f4")
    header[name] = {"dtype": "F32", "shape": [2, STEPS], "data_offsets": [len(data), len(data) + out.nbytes]}
    data += out.tobytes()
    print(name, out.mean(1))
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "ssl.safetensors"), "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + data)
