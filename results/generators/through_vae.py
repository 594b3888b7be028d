"""What race.py and vae_keeps.py share: forty's program run on stored tensors, clips through a VAE and back, the kernel distance."""
import json
import os
import subprocess

import h5py
import numpy as np

BATCH = 40


def run(*args):
    r = subprocess.run(args, capture_output=True, text=True)
    if r.returncode:
        raise SystemExit(f"{' '.join(args[1:])}\n{r.stderr}")
    return r.stdout


def tensors(path):
    with open(path, "rb") as f:
        head = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        body = f.read()
    head.pop("__metadata__", None)
    return {k: np.frombuffer(body[slice(*v["data_offsets"])], np.float32).reshape(v["shape"]).astype(float) for k, v in head.items()}


def write_tensor(path, x):
    x = np.ascontiguousarray(x, np.float32)
    text = json.dumps({"x": {"dtype": "F32", "shape": list(x.shape), "data_offsets": [0, x.nbytes]}}).encode()
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + x.tobytes())


def forward(forty, vae, part, x, work):
    a, b = os.path.join(work, "in.safetensors"), os.path.join(work, "out.safetensors")
    write_tensor(a, x)
    run(forty, "forward", "vae-tiny-" + part, "--weights", os.path.join(vae, "ema.safetensors"), "--input", a, "-o", b, "--force")
    return tensors(b)["output"]


def rebuild(forty, vae, store, keep, path, work):
    """Writes to `path` a clip store with the clips of `store` that `keep` (a mask) names, as the VAE of the run folder `vae` rebuilds them."""
    with h5py.File(store) as old, h5py.File(path, "w") as new:
        for k, v in old.attrs.items():
            new.attrs[k] = v
        for k, v in old["video"].items():
            new["video/" + k] = v[:]
        for k, v in old["clip"].items():
            new["clip/" + k] = v[:][keep]
        out, clips = [], old["clips"][:][keep]
        for i in range(0, len(clips), BATCH):
            moments = forward(forty, vae, "encode", clips[i : i + BATCH].transpose(0, 4, 1, 2, 3) / 127.5 - 1, work)
            y = forward(forty, vae, "decode", moments[:, : moments.shape[1] // 2], work)
            out.append(((y.transpose(0, 2, 3, 4, 1) + 1) * 127.5).round().clip(0, 255).astype(np.uint8))
        new["clips"] = np.concatenate(out)


def kernel_distance(x, y):
    """Unbiased MMD^2, kernel (x.y / d + 1)^3"""
    k = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3
    inside = [(m.sum() - np.trace(m)) / len(m) / (len(m) - 1) for m in (k(x, x), k(y, y))]
    return float(sum(inside) - 2 * k(x, y).mean())
