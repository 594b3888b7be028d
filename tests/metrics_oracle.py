#!/usr/bin/env python3
"""`forty metrics` against SciPy, scikit-learn, prdc, pytorch-fid and clean-fid on the same features, at the sizes that people have; the
table of small-sample bias (docs/metrics.md); and, with weights of a DINOv2 ViT-S/14, whole folders of frames against Pillow and
transformers; Inception with random weights through the readers of pytorch-fid and clean-fid. Not part of the tests: it needs PyTorch. Small cases of all of it are (tests/test_metrics.c).

    venv/bin/pip install scipy scikit-learn prdc pytorch-fid clean-fid torch transformers
    venv/bin/python tests/metrics_oracle.py build/release/forty [features] [bias] [inception] [folders] [dinov2-s14.safetensors]
"""
import contextlib, io, json, os, subprocess, sys, tempfile, time

import numpy as np
import scipy.special
from cleanfid.fid import frechet_distance as clean_frechet
from prdc import compute_prdc
from pytorch_fid.fid_score import calculate_frechet_distance
from sklearn.metrics.pairwise import polynomial_kernel

forty, weights = sys.argv[1], next((a for a in sys.argv[2:] if a.endswith(".safetensors")), None)
wanted = [a for a in sys.argv[2:] if a != weights] or ["features", "bias", "inception", "folders"]
tmp = tempfile.mkdtemp()
worst = {}


def metrics(a, b, *more):
    t = time.time()
    out = subprocess.run([forty, "metrics", "--real", a, "--fake", b, "--json", "--quiet", *more], check=True, stdout=subprocess.PIPE).stdout
    return {v["metric"]: v for v in json.loads(out)["values"]}, time.time() - t


def save(name, x):
    path = os.path.join(tmp, name + ".npy")
    np.save(path, x)
    return path


def check(what, got, want):
    off = abs(got - want) / max(abs(want), 1e-12)
    worst[what] = max(worst.get(what, 0), off)
    if off > 1e-4:
        sys.exit(f"{what}: {got} instead of {want}")


def features(r, n, d, mix, shift=0.0):
    x = r.normal(size=(n, d)) @ mix + shift
    return np.maximum(x, 0).astype(np.float32)  # as a network's last ReLU leaves them


def by_factors(a, b, ddof=1):  # where sqrtm fails: nuclear norm of the product of the centred sets
    x, y = a - a.mean(0), b - b.mean(0)
    x, y = x / (len(x) - ddof) ** 0.5, y / (len(y) - ddof) ** 0.5
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + (x**2).sum() + (y**2).sum() - 2 * np.linalg.svd(x @ y.T, compute_uv=False).sum()


def inception_score(logits):
    p = np.maximum(scipy.special.softmax(logits.astype(np.float64), 1), 1e-300)
    return np.mean([np.exp((q * (np.log(q) - np.log(q.mean(0)))).sum(1).mean()) for q in np.split(p, 10)])


def same_features():
    for n, m, d in (200, 180, 64), (900, 1200, 384), (2600, 2300, 1024), (60, 45, 384), (210, 2048, 400):
        r = np.random.default_rng(n + d)
        mix = r.normal(size=(d, d)) / d**0.5 * (1 / np.arange(1, d + 1)) ** 0.25
        a, b = features(r, n, d, mix), features(r, m, d, mix * 1.1, 0.02)
        v, seconds = metrics(save("a", a), save("b", b), "--halves", "0")
        A, B = a.astype(np.float64), b.astype(np.float64)
        check("Frechet, by factors", v["FD"]["value"], by_factors(A, B))
        if min(n, m) > d:
            moments = A.mean(0), np.cov(A.T), B.mean(0), np.cov(B.T)
            check("Frechet, pytorch-fid (scipy.linalg.sqrtm)", v["FD"]["value"], calculate_frechet_distance(*moments))
            check("Frechet, clean-fid (scipy.linalg.sqrtm)", v["FD"]["value"], clean_frechet(*moments))
        else:
            with contextlib.redirect_stdout(io.StringIO()):
                theirs = calculate_frechet_distance(A.mean(0), np.cov(A.T), B.mean(0), np.cov(B.T))
            print(f"n < d ({n}, {m}, {d}): pytorch-fid says {theirs:.6g}, exact is {by_factors(A, B):.6g}")
        k = lambda x, y, p, c: polynomial_kernel(x, y, degree=p, gamma=1 / d, coef0=c)
        aa, bb, ab = k(A, A, 3, 1), k(B, B, 3, 1), k(A, B, 3, 1)
        off = lambda q: (q.sum() - np.trace(q)) / (len(q) * (len(q) - 1))
        check("MMD (KID's kernel)", v["mmd"]["value"], off(aa) + off(bb) - 2 * ab.mean())
        check("JEDi's form", v["jedi"]["value"], 100 * (k(A, A, 2, 0).mean() + k(B, B, 2, 0).mean() - 2 * k(A, B, 2, 0).mean()))
        with contextlib.redirect_stdout(io.StringIO()):
            p = compute_prdc(real_features=A, fake_features=B, nearest_k=5)
        for name in ("precision", "recall", "density", "coverage"):
            check(name, v[name]["value"], p[name])
        print(f"n {n}, {m}, d {d}: {seconds:.1f} s")

    r = np.random.default_rng(3)
    x = (3 * r.normal(size=(5000, 1008))).astype(np.float32)
    v, _ = metrics(save("a", x[:4000]), save("b", x), "--halves", "0", "--logits")
    check("inception score", v["IS"]["value"], inception_score(x))


def bias():
    r = np.random.default_rng(3)
    print("small-sample bias: one distribution, d = 400, one draw each; in brackets what was published of such draws")
    for n, m, flat, falling in (2048, 2048, 39.4, 16.8), (1024, 1024, 79.0, 33.5), (210, 2048, 269.9, 110.6), (3125, 210, 268.6, 109.3), (210, 210, 338.8, 150.0):
        line = []
        for spectrum, want in (np.ones(400), flat), (1 / np.arange(1, 401), falling):
            s = np.sqrt(spectrum * 400 / spectrum.sum())
            a, b = (r.normal(size=(k, 400)) * s for k in (n, m))
            v, _ = metrics(save("a", a.astype(np.float32)), save("b", b.astype(np.float32)), "--halves", "0", "--infinity", "--ddof", "1")
            far = v["FD"]["infinity"]
            line.append(f"{v['FD']['value']:.1f} ({want}), n to infinity {far:.1f}, MMD {v['mmd']['value']:.1e}")
            assert abs(v["FD"]["value"] / want - 1) < 0.08, (v["FD"]["value"], want)
        print(f"{n} / {m}: flat {line[0]}; 1/k {line[1]}")


def folders(weights):
    import torch
    from PIL import Image
    from safetensors.numpy import load_file
    from transformers import Dinov2Config, Dinov2Model

    w, c = load_file(weights), Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14)
    net, t = Dinov2Model(c).eval(), lambda k: torch.tensor(w[k])
    state = {"embeddings.cls_token": t("cls_token"), "embeddings.position_embeddings": t("pos_embed"), "embeddings.mask_token": t("mask_token")[:, :],
             "layernorm.weight": t("norm.weight"), "layernorm.bias": t("norm.bias")}
    for k in ("weight", "bias"):
        state["embeddings.patch_embeddings.projection." + k] = t("patch_embed.proj." + k)
        for i in range(12):
            q, to = f"blocks.{i}.", f"encoder.layer.{i}."
            for name, part in zip("qkv", torch.chunk(t(q + "attn.qkv." + k), 3)):
                state[to + f"attention.{name}_proj." + k] = part
            state[to + "attention.o_proj." + k] = t(q + "attn.proj." + k)
            for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                state[to + name + "." + k] = t(q + name + "." + k)
    for i in range(12):
        for k in "12":
            state[f"encoder.layer.{i}.layer_scale{k}.lambda1"] = t(f"blocks.{i}.ls{k}.gamma")
    state["embeddings.mask_token"] = state["embeddings.mask_token"].reshape(net.embeddings.mask_token.shape)
    net.load_state_dict(state)
    mean, std = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    seen = {}
    for name, seed in ("real", 1), ("fake", 2):
        r, rows = np.random.default_rng(seed), []
        for video in range(12):
            os.makedirs(os.path.join(tmp, name, f"v{video:02d}"))
            low = r.uniform(0, 255, (6, 6, 3))
            for f in range(3):
                low = np.clip(low + r.normal(0, 20 * seed, low.shape), 0, 255)
                x = np.asarray(Image.fromarray(low.astype(np.uint8)).resize((97, 97), Image.BICUBIC))
                Image.fromarray(x).save(os.path.join(tmp, name, f"v{video:02d}", f"{f:06d}.png"))
                y = np.stack([np.asarray(Image.fromarray(x[..., k].astype(np.float32), "F").resize((224, 224), Image.BICUBIC)) for k in range(3)]).clip(0, 255)
                with torch.no_grad():
                    rows.append(net(((torch.tensor(y) / 255 - mean) / std)[None], interpolate_pos_encoding=True).last_hidden_state[0, 0].numpy())
        seen[name] = np.array(rows)
    cache = os.path.join(tmp, "cache")
    v, _ = metrics(os.path.join(tmp, "real"), os.path.join(tmp, "fake"), "--as", "clean-fid", "--model", "dinov2-s14", "--weights", weights, "--size", "224", "--cache", cache, "--halves", "0")
    kept = [load_file(os.path.join(cache, f))["value"] for f in os.listdir(cache)]
    for name in seen:
        off = min(np.abs(k - seen[name]).max() / np.abs(seen[name]).max() for k in kept)
        print(f"{name}: class tokens of 36 PNG frames, largest difference {off:.1e} of the largest value")
        assert off < 1e-4, off
    check("Frechet of folders of frames", v["FD"]["value"], by_factors(seen["real"].astype(np.float64), seen["fake"].astype(np.float64)))


def inception():
    """pytorch-fid's network with random weights: its own reader of pictures, clean-fid's, and what StyleGAN's code does"""
    import pathlib
    import pytorch_fid.fid_score as score
    import pytorch_fid.inception as fid
    import torch
    from PIL import Image
    from cleanfid.resize import build_resizer
    from safetensors.numpy import load_file

    torch.manual_seed(0)
    torch.set_num_threads(2)
    names = fid._inception_v3(num_classes=1008, aux_logits=False, weights=None)
    for q in names.parameters():
        q.data.normal_(0, q[0].numel() ** -0.5) if q.dim() > 1 else q.data.uniform_(0.8, 1.2)
    state = names.state_dict()
    fid.load_state_dict_from_url = lambda *a, **k: state
    torch.save(state, os.path.join(tmp, "random.pth"))
    weights = os.path.join(tmp, "inception.safetensors")
    subprocess.run([forty, "weights", "import", os.path.join(tmp, "random.pth"), "--as", "inception", "-o", weights, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    net, folder = fid.InceptionV3([3]).eval(), {}
    plain = fid.InceptionV3([3], resize_input=False, normalize_input=False).eval()
    for name, seed in ("real", 1), ("fake", 2):
        r, folder[name] = np.random.default_rng(seed), os.path.join(tmp, "pictures", name)
        os.makedirs(folder[name])
        for i in range(20):
            x = Image.fromarray(r.integers(0, 256, (9, 9, 3)).astype(np.uint8)).resize((150, 150), Image.BICUBIC)
            x.save(os.path.join(folder[name], f"{i:02d}.png"))
    pictures = lambda name: [np.asarray(Image.open(q)) for q in sorted(pathlib.Path(folder[name]).iterdir())]

    def seen(x):  # (299, 299, 3) of 0 to 255, as Google's graph has its colours
        with torch.no_grad():
            return plain(torch.tensor((x - 128) / 128).permute(2, 0, 1)[None].float())[0].flatten(1)[0].numpy()

    def tf1(x):
        at = np.arange(299) * (len(x) / 299)
        low, part = at.astype(int), at - at.astype(int)
        high = np.minimum(low + 1, len(x) - 1)
        rows = x[low] * (1 - part)[:, None, None] + x[high] * part[:, None, None]
        return rows[:, low] * (1 - part)[None, :, None] + rows[:, high] * part[None, :, None]

    def both(how):
        return [np.array([how(x) for x in pictures(name)]) for name in ("real", "fake")]

    lanczos = lambda x: np.asarray(Image.fromarray(x).resize((128, 128), Image.LANCZOS)).astype(np.float64)
    torch_fid = [score.get_activations([str(q) for q in sorted(pathlib.Path(folder[n]).iterdir())], net, batch_size=5, num_workers=0) for n in ("real", "fake")]
    bicubic = build_resizer("clean")
    w = state["fc.weight"].numpy().astype(np.float64)
    for preset, want, ddof in ("pytorch-fid", torch_fid, 1), ("clean-fid", both(lambda x: seen(bicubic(x))), 1), ("endora", both(lambda x: seen(tf1(lanczos(x)))), 0):
        v, _ = metrics(folder["real"], folder["fake"], "--as", preset, "--inception", weights, "--halves", "0", "--no-cache")
        exact = by_factors(*(a.astype(np.float64) for a in want), ddof)
        check(f"FID as {preset}, pictures to number", v["FID"]["value"], exact)
        if preset == "endora":
            check("IS as endora", v["IS"]["value"], inception_score(want[1] @ w.T))


if "features" in wanted:
    same_features()
if "bias" in wanted:
    bias()
if "inception" in wanted:
    inception()
if "folders" in wanted and weights:
    folders(weights)
print()
for what, off in worst.items():
    print(f"{what}: {off:.1e}")
