"""Training and sampling steps of forty and of today's PyTorch on one GPU, in turns, into the device suite's JSON.

    bench.py DEVICE_MODELS OUT.json [NAME...]

PyTorch: torch.compile(mode="max-autotune") (CUDA graphs included), bf16 autocast, fused AdamW, flash attention, channels last. A step
is forward, mean square of the output, backward, AdamW; forty's also averages the weights. What ran before is kept: a second call goes
on where the first one stopped. Peaks for the shares are the card's own: a large bf16 product and a large copy, measured first."""
import json, os, statistics, subprocess, sys, time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests/golden"), os.path.join(ROOT, "tests")]
binary, out = sys.argv[1:3]
JOBS = [("medsora-b", 2), ("medsora-b", 16), ("feat-s", 2), ("endora-b", 2), ("x3d-s", 8), ("timesformer-b16", 4), ("medsora-l", 2),
        ("feat-l", 2), ("timesformer-s16-128", 8), ("encode-cogvideox-vae", 1), ("decode-cogvideox-vae", 1), ("sample-medsora-b", 4)]


def save(key, value):
    d = json.load(open(out)) if os.path.exists(out) else {}
    d.setdefault("bench", {})[key] = value
    with open(out + ".partial", "w") as f:
        json.dump(d, f, indent=1)
    os.replace(out + ".partial", out)


def forty(name, batch):
    verb = "forward" if name.startswith(("encode-", "decode-", "sample-")) else "bench"
    r = subprocess.run([binary, verb, name.removeprefix("sample-"), str(batch), "bf16"], capture_output=True, text=True, timeout=150)
    if r.returncode:
        return {"error": (r.stdout + r.stderr)[-400:]}
    return json.loads(r.stdout.splitlines()[-1]) | {"choices": r.stderr.splitlines()}


def torch_problem(name, batch):
    import torch
    import bench_torch  # its twins' fast forms: scans as products, flash attention
    gt, twins, dev = bench_torch.generator_twins, bench_torch.twins, "cuda"
    if name.startswith(("medsora", "sample-medsora")):
        depth = 24 if name.endswith("-l") else 12
        m, z, t = twins.MedSora(depth, 512, 2, 64, 128, 8, 16), torch.randn(batch, 6, 16, 16, 16, device=dev), torch.rand(batch, device=dev) * 999
        m.to(dev)
        return m, lambda: m(z, t)
    if name.startswith("feat"):
        m = gt.Feat(9, 512, 8, 4, 16) if name == "feat-s" else gt.Feat(9, 1024, 16, 4, 16)
    elif name.startswith("endora"):
        m = gt.Endora(12, 768, 12, 8, 4, 16)
    else:
        m = None
    if m is not None:
        m.to(dev)
        z, t = torch.randn(batch, 16, 16, 16, 4, device=dev), torch.rand(batch, device=dev) * 999
        return m, lambda: m(z, t)
    if name == "x3d-s":
        m = twins.X3D("x3d-s", 2).to(dev).to(memory_format=torch.channels_last_3d)
        x = torch.randn(batch, 3, 16, 160, 160, device=dev).to(memory_format=torch.channels_last_3d)
        return m, lambda: m(x)
    if name.startswith("timesformer"):
        m = (twins.TimeSformer(768, 12, 12, 16, 16, 224, 2) if name.endswith("b16") else twins.TimeSformer(384, 12, 6, 16, 16, 128, 2)).to(dev)
        x = torch.randn(batch, 3, 16, 224 if name.endswith("b16") else 128, 224 if name.endswith("b16") else 128, device=dev)
        return m, lambda: m(x)
    from diffusers import AutoencoderKLCogVideoX
    m = AutoencoderKLCogVideoX().to(dev).eval()
    x = torch.randn(batch, 3, 9, 128, 128, device=dev) if name.startswith("encode") else torch.randn(batch, 16, 3, 16, 16, device=dev)
    return m, (lambda: m.encode(x).latent_dist.mode()) if name.startswith("encode") else (lambda: m.decode(x).sample)


def pytorch(name, batch):
    import torch
    torch.set_default_device("cuda")  # tables that a twin makes in its forward pass
    torch.manual_seed(0)
    torch._dynamo.reset()
    torch.cuda.reset_peak_memory_stats()
    m, forward = torch_problem(name, batch)
    train = not name.startswith(("encode-", "decode-", "sample-"))

    def loss():
        with torch.autocast("cuda", torch.bfloat16):
            return forward().float().pow(2).mean()

    fn = torch.compile(loss, mode="max-autotune")
    opt = torch.optim.AdamW(m.parameters(), 1e-4, fused=True) if train else None

    def step():
        if not train:
            with torch.no_grad():
                fn()
            return
        opt.zero_grad(set_to_none=True)
        fn().backward()
        opt.step()

    for _ in range(6):
        step()
    torch.cuda.synchronize()
    times, per = [], 1
    for i in range(16):
        start = time.perf_counter()
        for _ in range(per):
            step()
        torch.cuda.synchronize()
        s = time.perf_counter() - start
        if i == 0:
            per = max(1, int(0.05 / s))
        else:
            times.append(1000 * s / per)
    return {"ms": statistics.median(times), "fastest_ms": min(times), "mib": torch.cuda.max_memory_reserved() / 2**20}


def peaks():
    import torch
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    b, big = torch.randn_like(a), torch.empty(1 << 30, device="cuda", dtype=torch.uint8)
    other = torch.empty_like(big)

    def rate(f, work):
        for _ in range(3): f()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(10): f()
        torch.cuda.synchronize()
        return 10 * work / (time.perf_counter() - start)
    return {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "bf16_tflops": rate(lambda: a @ b, 2 * 8192**3) / 1e12,
            "copy_gbs": rate(lambda: other.copy_(big), 2 << 30) / 1e9}


def main():
    if len(sys.argv) > 3 and sys.argv[3] == "--torch":  # a process of its own: memory and compiler state do not leak
        print(json.dumps(peaks() if sys.argv[4] == "peaks" else pytorch(sys.argv[4], int(sys.argv[5]))))
        return 0
    me = [sys.executable, os.path.abspath(__file__), binary, out, "--torch"]
    done = json.load(open(out)).get("bench", {}) if os.path.exists(out) else {}
    wanted = [j for j in JOBS if len(sys.argv) < 4 or j[0] in sys.argv[3:]]

    def other(*what):
        r = subprocess.run(me + list(map(str, what)), capture_output=True, text=True, timeout=240)
        return json.loads(r.stdout.splitlines()[-1]) if r.returncode == 0 else {"error": r.stderr[-400:]}
    if "bf16_tflops" not in done.get("peaks", {}):
        done["peaks"] = other("peaks")
        save("peaks", done["peaks"])
    bad = 0
    for name, batch in wanted:
        key = f"{name}:{batch}"
        if "ratio" in done.get(key, {}):
            continue
        first, torch_one, second = forty(name, batch), other(name, batch), forty(name, batch)  # in turns
        r = {"forty": first, "pytorch": torch_one}
        if "ms" in first and "ms" in second:
            first["ms"] = min(first["ms"], second["ms"])
            flops = 2e9 * first["gmac"] / (first["ms"] / 1000) / 1e12
            r["share_of_bf16_peak"] = flops / done["peaks"].get("bf16_tflops", float("nan"))
            r["share_of_bandwidth"] = first["moved_mib"] * 2**20 / (first["ms"] / 1000) / 1e9 / done["peaks"].get("copy_gbs", float("nan"))
        if "ms" in first and "ms" in torch_one:
            r["ratio"], r["memory_ratio"] = torch_one["ms"] / first["ms"], first["mib"] / torch_one["mib"]
            print(f"{key}: forty {first['ms']:.2f} ms, PyTorch {torch_one['ms']:.2f} ms, {r['ratio']:.2f}x, memory {r['memory_ratio']:.2f}x", flush=True)
        else:
            bad += 1
            print(f"{key}: forty {first.get('error', 'ran')[-200:]} | PyTorch {torch_one.get('error', 'ran')[-200:]}", flush=True)
        save(key, r)
    return bad > 0


sys.exit(main())
