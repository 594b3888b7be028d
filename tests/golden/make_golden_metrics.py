"""metrics.safetensors: small sets of features and a picture, with what SciPy, scikit-learn, the package prdc, Pillow, clean-fid and
PyTorch make of them. make_golden_metrics.py [OUT]"""
import os, sys
import numpy as np, scipy.linalg, torch
from PIL import Image
from cleanfid.resize import build_resizer
from prdc import compute_prdc
from safetensors.numpy import save_file
from sklearn.metrics.pairwise import polynomial_kernel

r = np.random.default_rng(7)
d = 24
mix = r.normal(size=(d, d)) / d**0.5
real = (r.normal(size=(60, d)) @ mix).astype(np.float32)
fake = (r.normal(size=(45, d)) @ mix * 1.2 + 0.3).astype(np.float32)
few = fake[:10]  # fewer than they have numbers
flat = real.copy()
flat[:, 5:] = flat[:, :1]  # of rank 5


def frechet(a, b, ddof):
    a, b = a.astype(np.float64), b.astype(np.float64)
    ca, cb = np.cov(a.T, ddof=ddof), np.cov(b.T, ddof=ddof)
    root = scipy.linalg.sqrtm(ca @ cb).real
    if np.linalg.matrix_rank(ca) < d or np.linalg.matrix_rank(cb) < d:  # sqrtm of a singular product is no square root: by its definition
        w, v = np.linalg.eigh(ca)
        half = (v * np.sqrt(w.clip(0))) @ v.T
        trace = np.sqrt(np.linalg.eigvalsh(half @ cb @ half).clip(0)).sum()
    else:
        trace = np.trace(root)
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca) + np.trace(cb) - 2 * trace


def mmd(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    aa, bb, ab = (polynomial_kernel(x, y, degree=3, gamma=1 / d, coef0=1) for x, y in ((a, a), (b, b), (a, b)))
    off = lambda k: (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))
    return off(aa) + off(bb) - 2 * ab.mean()


def jedi(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    aa, bb, ab = (polynomial_kernel(x, y, degree=2, gamma=1 / d, coef0=0) for x, y in ((a, a), (b, b), (a, b)))
    return 100 * (aa.mean() + bb.mean() - 2 * ab.mean())


def inception(logits, splits):
    p = scipy.special.softmax(logits.astype(np.float64), 1)
    parts = [p[len(p) * k // splits : len(p) * (k + 1) // splits] for k in range(splits)]
    s = [np.exp((q * (np.log(q) - np.log(q.mean(0)))).sum(1).mean()) for q in parts]
    return [np.mean(s), np.std(s)]


prdc = compute_prdc(real_features=real.astype(np.float64), fake_features=fake.astype(np.float64), nearest_k=5)
frames = fake[:40].reshape(5, 8, d).astype(np.float64)
unit = frames / np.linalg.norm(frames, axis=-1, keepdims=True)
t = {
    "real": real, "fake": fake, "few": few, "flat": flat,
    "frechet": np.array([frechet(real, fake, 1), frechet(real, fake, 0), frechet(real, few, 1), frechet(flat, fake, 1), frechet(flat, few, 0)]),
    "mmd": np.array([mmd(real, fake), jedi(real, fake), mmd(real, few)]),
    "prdc": np.array([prdc[k] for k in ("precision", "recall", "density", "coverage")]),
    "inception": np.array(inception(fake * 3, 5)),
    "consistency": 100 * (unit[:, 1:] * unit[:, :-1]).sum(-1).mean(1),
}

def clean_fid(x, to):
    return np.stack([np.asarray(Image.fromarray(x[..., c].astype(np.float32), "F").resize((to, to), Image.BICUBIC)) for c in range(3)], -1).clip(0, 255)


# pictures: 37 pixels to 16 and to 61
x = r.integers(0, 256, (37, 37, 3)).astype(np.uint8)
x[:12, :12] = 255
t["picture"] = x
nhwc = torch.tensor(x).permute(2, 0, 1)[None].float()
for to in (16, 61):
    for name, how in ("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC), ("lanczos", Image.LANCZOS):
        t[f"{name}.{to}.bytes"] = np.asarray(Image.fromarray(x).resize((to, to), how)).copy()
    t[f"bicubic.{to}"] = clean_fid(x, to)
    t[f"torch.{to}"] = torch.nn.functional.interpolate(nhwc, size=(to, to), mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy().copy()
    t[f"bilinear.{to}"] = torch.nn.functional.interpolate(nhwc, size=(to, to), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy().copy()
    at = np.arange(to) * (37 / to)  # TensorFlow 1, align_corners=False
    low = at.astype(int)
    high, part = np.minimum(low + 1, 36), (at - low)
    rows = x[low] * (1 - part)[:, None, None] + x[high] * part[:, None, None]
    t[f"tf1.{to}"] = (rows[:, low] * (1 - part)[None, :, None] + rows[:, high] * part[None, :, None]).astype(np.float32)
assert np.array_equal(build_resizer("clean")(x), clean_fid(x, 299))  # the package makes 299 pixels alone
here = os.path.dirname(os.path.abspath(__file__))
save_file({k: np.ascontiguousarray(v) for k, v in t.items()}, sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "metrics.safetensors"))
