#!/usr/bin/env python3
"""Writes stats.h: power and equivalence by statsmodels, isotonic curves by scikit-learn, smallest effects of sign flips by simulation,
on differences that test_power.c makes by the same formula.
venv/bin/python tests/golden/make_golden_stats.py (statsmodels, scikit-learn, scipy)"""
import itertools
import os
import subprocess

import numpy as np
from sklearn.isotonic import IsotonicRegression
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired
from formula import value


def differences(stream, n, shift):
    return value(stream, n).astype(float) * 0.03 + shift


def flips(n, comparisons):
    """The effect at which sign flips of n normal differences have 80 % power, by 20,000 draws."""
    signs = np.array(list(itertools.product([1, -1], repeat=n)), np.float32)
    z = np.random.default_rng(n).standard_normal((20000, n)).astype(np.float32)
    low, high = 0.2, 6
    for _ in range(14):
        d = (low + high) / 2
        x = z + np.float32(d)
        p = np.concatenate([(abs(c @ signs.T) >= abs(c.sum(1, keepdims=True)) - 1e-5).mean(1) for c in np.split(x, 20)])
        low, high = (d, high) if (p <= 0.05 / comparisons).mean() < 0.8 else (low, d)
    return high


out = ["/* by make_golden_stats.py: statsmodels, scikit-learn, simulation */"]
out += ["/* n, level, effect, power: TTestPower().power; effects of the second half are solve_power's for 0.8 */",
        "static const double golden_power[][4] = {"]
for n, level, effect in ((2, 0.05, 1), (6, 0.05, 0.5), (10, 0.01, 1.2), (25, 0.05, 0.3), (100, 0.005, 0.4)):
    out.append("    {%d, %.16g, %.16g, %.16g}," % (n, level, effect, TTestPower().power(effect, n, level)))
for n, level in ((6, 0.05), (10, 0.05), (20, 0.0125), (40, 0.05), (200, 0.01)):
    effect = TTestPower().solve_power(None, n, level, 0.8)  # to five digits
    out.append("    {%d, %.16g, %.16g, %.16g}," % (n, level, effect, TTestPower().power(effect, n, level)))
out += ["};", "/* stream, n, shift, margin, p: ttost_paired */", "static const double golden_equivalence[][5] = {"]
for stream, n, shift, margin in ((1, 2, 0, 0.02), (2, 6, 0.005, 0.02), (3, 10, -0.01, 0.02), (4, 20, 0.03, 0.02), (5, 40, 0, 0.01), (6, 12, -0.05, 0.02)):
    d = differences(stream, n, shift)
    out.append("    {%d, %d, %.16g, %.16g, %.16g}," % (stream, n, shift, margin, ttost_paired(d, np.zeros(n), -margin, margin)[0]))
out += ["};", "/* splits, comparisons, smallest effect: 20,000 simulated experiments */", "static const double golden_flips[][3] = {"]
for n, comparisons in ((6, 1), (7, 1), (7, 2), (8, 2), (8, 4), (9, 4), (10, 1), (10, 4), (11, 8), (12, 2)):
    out.append("    {%d, %d, %.4g}," % (n, comparisons, flips(n, comparisons)))
out += ["};", "/* seven values of stream 9 + row on a rising line, and IsotonicRegression of them */", "static const double golden_isotonic[][7] = {"]
for row in range(4):
    y = value(9 + row, 7).astype(float) * 0.2 + 0.05 * np.arange(7)
    out.append("    {" + ", ".join("%.16g" % v for v in IsotonicRegression().fit_transform(np.arange(7), y)) + "},")
out.append("};")
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stats.h")
with open(path, "w") as f:
    f.write("\n".join(out) + "\n")
subprocess.run(["clang-format", "-i", path], check=True)
