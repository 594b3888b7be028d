#!/usr/bin/env python3
"""Writes scores.h: what scikit-learn says about answers that test_learning.c makes by the same formula, with two and with three
classes and with ties. venv/bin/python tests/golden/make_golden_scores.py (scikit-learn, scipy)"""
import os

import numpy as np
from sklearn import metrics as m
from formula import value


def case(classes, n):
    raw = np.round((value(7, n * classes).reshape(n, classes) + np.float32(1)) * np.float32(8)) + np.float32(1)  # many ties
    label = np.floor((value(8, n).astype(float) + 1) / 2 * classes).astype(int)
    raw[np.arange(n), label] += 4
    return (raw / raw.sum(1, keepdims=True)).astype(np.float32).astype(float), label


def ece(p, y, bins=15):
    top, hit, total = p.max(1), p.argmax(1) == y, 0
    which = np.minimum((top * bins).astype(int), bins - 1)
    for b in range(bins):
        total += abs(hit[which == b].sum() - top[which == b].sum())
    return total / len(y)


out = ["/* by make_golden_scores.py, scikit-learn: f1, balanced accuracy, MCC, AUROC, average precision, Brier, ECE; then the",
       " * threshold of the largest F1 and that F1 (two classes) */", "static const double golden_scores[2][9] = {"]
for classes in (2, 3):
    p, y = case(classes, 97)
    hard = p.argmax(1)
    one = np.eye(classes)[y]
    if classes == 2:
        precision, recall, threshold = m.precision_recall_curve(y, p[:, 1])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
        best = f1[:-1].argmax()
        row = [m.f1_score(y, hard), m.balanced_accuracy_score(y, hard), m.matthews_corrcoef(y, hard), m.roc_auc_score(y, p[:, 1]),
               m.average_precision_score(y, p[:, 1]), m.brier_score_loss(y, p[:, 1]), ece(p, y), threshold[best], f1[best]]
    else:
        row = [m.f1_score(y, hard, average="macro"), m.balanced_accuracy_score(y, hard), m.matthews_corrcoef(y, hard),
               np.mean([m.roc_auc_score(y == c, p[:, c]) for c in range(classes)]),
               np.mean([m.average_precision_score(y == c, p[:, c]) for c in range(classes)]), ((p - one) ** 2).sum(1).mean(), ece(p, y), 0, 0]
    out.append("    {" + ", ".join("%.16g" % v for v in row) + "},")
out.append("};")


def sets(classes, n):
    raw = np.round((value(7, n * classes).reshape(n, classes) + np.float32(1)) * np.float32(8))
    label = value(9, n * classes).reshape(n, classes).astype(float) > 0.4 + 0.2 * np.arange(classes)
    return ((raw + 5 * label) / np.float32(22)).astype(np.float32).astype(float), label.astype(int)


out += ["/* of three labels a video: macro F1, balanced accuracy, MCC, AUROC, mAP, Brier, ECE, exact matches; each label's F1, AUROC, AP */",
        "static const double golden_sets[17] = {"]
p, y = sets(3, 97)
hard = (p > 0.5).astype(int)
each = lambda f, q: [f(y[:, c], q[:, c]) for c in range(3)]
aps, aucs, f1s = each(m.average_precision_score, p), each(m.roc_auc_score, p), each(m.f1_score, hard)
row = [m.f1_score(y, hard, average="macro"), np.mean(each(m.balanced_accuracy_score, hard)), np.mean(each(m.matthews_corrcoef, hard)),
       m.roc_auc_score(y, p, average="macro"), m.average_precision_score(y, p, average="macro"), np.mean(each(m.brier_score_loss, p)),
       np.mean([ece(np.stack([1 - p[:, c], p[:, c]], 1), y[:, c]) for c in range(3)]), m.accuracy_score(y, hard)]
row += [v for c in range(3) for v in (f1s[c], aucs[c], aps[c])]
out.append("    " + ", ".join("%.16g" % v for v in row) + "};")
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "scores.h"), "w") as f:
    f.write("\n".join(out) + "\n")
