"""How near two sets of clips are, without a learned judge: Frechet distance of what small pictures of them look like at four times.
Used by results/medsora/samplers.py and results/generators/race.py, which project on principal components before."""
import numpy as np


def look(clips):  # (N,F,S,S,3) -> (N, 4*8*8*3)
    n, f, s = clips.shape[:3]
    x = clips[:, :: f // 4][:, :4].astype(np.float64) / 255
    return x.reshape(n, 4, 8, s // 8, 8, s // 8, 3).mean((3, 5)).reshape(n, -1)


def frechet(a, b):
    ca, cb = np.cov(a.T), np.cov(b.T)
    w, v = np.linalg.eigh(ca)
    root = (v * np.sqrt(w.clip(0))) @ v.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cb @ root).clip(0)).sum()
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca) + np.trace(cb) - 2 * cross
