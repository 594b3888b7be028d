"""The opponent of the device suite: training steps of today's PyTorch on one GPU, at its best.

    opponent.py compile MODEL:BATCH...                  fills the compiler's caches; nothing is timed
    opponent.py run OUT.jsonl SECONDS MODEL:BATCH...    appends a line for every form of a step as soon as it is measured
    opponent.py table OUT.jsonl                         the ratios of what is known

Forms: eager and compiled block by block (OPPONENT_MODE: torch.compile's mode), each with the whole step as one CUDA graph. Both have
bf16 autocast, fused AdamW, flash attention, scans as products, channels last, index tables made once. As in forty's step: an average
of the weights, drop path and dropout where the preset has them, nothing computed twice to save memory. forty's step also has the
norm of the gradient, the opponent's has not. Memory is what the driver says is gone, less what was gone before the model was made.
Peaks are the card's own: a large bf16 product and a large copy."""
import gc, json, math, os, statistics, subprocess, sys, time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests/golden"), os.path.join(ROOT, "tests")]
EACH = 50 / float(os.environ.get("REHEARSAL", 1))  # seconds for a model
DEVICE = os.environ.get("OPPONENT_DEVICE", "cuda")  # cpu: do the forms run at all?
MODE = os.environ.get("OPPONENT_MODE", "default")
CACHE = os.environ.get("OPPONENT_CACHE", os.path.join(ROOT, "build/opponent"))
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", CACHE)
os.environ.setdefault("TRITON_CACHE_DIR", os.path.join(CACHE, "triton"))


def append(path, value):
    with open(path, "a") as f:
        f.write(json.dumps(value) + "\n")


# ---- the networks: the twins of tests/golden in the forms of tests/bench_torch.py, their tables made once ---------------------------


def patch():
    import bench_torch, torch  # bench_torch gives the twins their fast forms
    import torch.nn.functional as F
    twins, gt = bench_torch.twins, bench_torch.generator_twins
    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))

    def tables(block, n, g, d):  # of a MedSora block
        orders = [twins.scan_order(n, g, block.index % 8, r) for r in (False, True)]
        for k, o in enumerate(orders):
            block.register_buffer(f"order{k}", o, False)
            block.register_buffer(f"back{k}", torch.argsort(o), False)
        i = torch.arange(g * g, dtype=torch.float32)
        theta = 10000 ** (-2 * torch.arange(d // 2) / d)
        for name, pos in (("q", i + g), ("k", i)):
            block.register_buffer("cos_" + name, (pos[:, None] * theta).cos(), False)
            block.register_buffer("sin_" + name, (pos[:, None] * theta).sin(), False)
        block.register_buffer("far", (i[:, None] - i[None]).abs() > g, False)

    def local(self, u):
        B, n, g, _, d = u.shape
        q, k, v = (m(u).view(B * n, g * g, d) for m in (self.query_matrix, self.key_matrix, self.value_matrix))

        def turn(x, c, s):
            a, b = x.chunk(2, -1)
            return torch.cat([a * c - b * s, b * c + a * s], -1).to(x.dtype)
        p = (turn(q * d**-0.5, self.cos_q, self.sin_q) @ turn(k, self.cos_k, self.sin_k).transpose(1, 2)).masked_fill(self.far, float("-inf"))
        p = F.dropout(p.softmax(-1), self.dropout, self.training)
        return (p.to(v.dtype) @ v).view(B, n, g, g, d)

    def spatial(self, u):  # all four scans as one batch
        m, (B, n, g, _, d) = self.mamba_hw, u.shape
        zx = m.in_proj(u)
        views = [zx.permute(*p).reshape(B * g, n * g, -1) for p in ((0, 2, 1, 3, 4), (0, 3, 1, 2, 4))]
        out = m.core(torch.cat([v[:, o] for v in views for o in (self.order0, self.order1)])).chunk(4)
        y = 0
        for k, (gate, back) in enumerate(((m.gated_fusion.gate_F1, (0, 2, 1, 3, 4)), (m.gated_fusion.gate_F2, (0, 2, 3, 1, 4)))):
            o = (out[2 * k][:, self.back0] + out[2 * k + 1][:, self.back1]).view(B, g, n, g, d).permute(*back)
            y = y + torch.sigmoid(gate(o)) * o
        return y

    def medsora(self, z, t):  # as the twin's, without a scalar from the host
        B, n, s, _, c = z.shape
        g, d = self.grid, self.d
        x = gt.patches(self.x_embedder.proj, z) + self.pos_embed.view(g, g, d)
        e = F.silu(self.t_embedder.mlp(gt.embed(t)))
        for b in self.blocks:
            x = b(x, e)
        shift, scale = self.final_layer.adaLN_modulation(e)[:, None, None, None].chunk(2, -1)
        x = self.final_layer.linear(F.layer_norm(x, (d,), eps=1e-6) * (1 + scale) + shift)
        return x.view(B * n, g, g, 2, 2, 2 * c).permute(0, 1, 3, 2, 4, 5).reshape(B, n, s, s, 2 * c)

    def drop(x, p):  # one draw for each of the first axis
        return x * (torch.rand(x.shape[0], 1, 1, device=x.device) >= p) / (1 - p) if p > 0 else x

    def timesformer(self, x, T):
        B, _, d = x.shape
        cls, p = x[:, :1], x[:, 1:]
        N, r = p.shape[1] // T, self.drop
        p = p + self.temporal_fc(drop(self.temporal_attn(self.temporal_norm1(p.reshape(B * N, T, d))), r)).reshape(B, N * T, d)
        frames = p.view(B, N, T, d).transpose(1, 2).reshape(B * T, N, d)
        s = torch.cat([cls.repeat_interleave(T, 0), frames], 1)
        y = drop(self.attn(self.norm1(s)), r).view(B, T, 1 + N, d)
        x = torch.cat([cls + y[:, :, 0].mean(1, keepdim=True), p + y[:, :, 1:].transpose(1, 2).reshape(B, N * T, d)], 1)
        return x + drop(self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x)))), r)

    twins.MedSoraBlock.local, twins.MedSoraBlock.spatial, twins.MedSora.forward = local, spatial, medsora
    twins.TimeSformerBlock.forward = timesformer
    return twins, gt, tables


def problem(name, batch):
    """(network, its blocks, forward pass)"""
    import torch
    twins, gt, tables = patch()
    tiny = name.endswith("-tiny")
    if name.startswith("medsora"):
        depth, d, expand, head, state, grid, n = (4, 128, 2, 32, 32, 4, 4) if tiny else (24 if name.endswith("-l") else 12, 512, 2, 64, 128, 8, 6)
        m = twins.MedSora(depth, d, expand, head, state, grid, 16)
        for b in m.blocks:
            tables(b, n, grid, d)
            b.dropout = 0.0 if tiny else 0.1
        shape, blocks = (batch, n, 2 * grid, 2 * grid, 16), list(m.blocks)
    elif name.startswith("feat"):
        m = gt.Feat() if tiny else gt.Feat(9, 512 if name == "feat-s" else 1024, 8 if name == "feat-s" else 16, 4, 16)
        shape, blocks = (batch, 4, 8, 8, 16) if tiny else (batch, 16, 16, 16, 4), list(m.blocks) + list(m.restormers)
    elif name.startswith("endora"):
        m = gt.Endora() if tiny else gt.Endora(12, 768, 12, 8, 4, 16)
        shape, blocks = (batch, 4, 8, 8, 16) if tiny else (batch, 16, 16, 16, 4), list(m.blocks)
    elif name.startswith("x3d"):
        m = twins.X3D(name, 2).to(memory_format=torch.channels_last_3d)
        shape, blocks = (batch, 3, 16, 64 if tiny else 160, 64 if tiny else 160), [b for s in m.blocks[1:-1] for b in s.res_blocks]
    elif name.startswith("timesformer"):
        d, depth, heads, patch_size, frames, size = {"timesformer-b16": (768, 12, 12, 16, 16, 224), "timesformer-s16-128": (384, 12, 6, 16, 16, 128),
                                                     "timesformer-tiny": (96, 4, 3, 8, 16, 64)}[name]
        m = twins.TimeSformer(d, depth, heads, patch_size, frames, size, 2)
        for i, b in enumerate(m.blocks):
            b.drop = 0.0 if tiny else 0.1 * i / (depth - 1)
        shape, blocks = (batch, 3, frames, size, size), list(m.blocks)
    else:
        raise SystemExit(f"{name}: no twin")
    m.to(DEVICE)
    with torch.no_grad():  # a fresh diffusion transformer gives zeros
        for p in m.parameters():
            p.add_(0.02 * torch.randn_like(p))
    x = torch.randn(shape, device=DEVICE)
    if name.startswith("x3d"):
        x = x.to(memory_format=torch.channels_last_3d)
    t = torch.rand(batch, device=DEVICE) * 999
    generator = name.startswith(("medsora", "feat", "endora"))
    return m, blocks, (lambda: m(x, t)) if generator else (lambda: m(x))


# ---- a step, and its time -----------------------------------------------------------------------------------------------------------


def step_of(name, batch, compiled):
    import torch
    m, blocks, forward = problem(name, batch)
    for b in blocks if compiled else ():
        b.compile(dynamic=False, **({} if MODE == "default" else {"mode": MODE}))
    params = list(m.parameters())
    average = [p.detach().clone() for p in params]
    opt = torch.optim.AdamW(params, 1e-4, fused=True, **({"capturable": True} if DEVICE == "cuda" else {}))

    def step():
        opt.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE, torch.bfloat16, cache_enabled=False):
            loss = forward().float().pow(2).mean()
        loss.backward()
        opt.step()
        torch._foreach_lerp_(average, [p.detach() for p in params], 0.1)
        return loss
    return step


def recorded(step):
    """The step as one CUDA graph"""
    import torch
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    gc.collect()
    torch.cuda.empty_cache()  # what only the steps before it needed
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()
    return graph.replay, loss


def measure(name, batch, compiled):
    import torch
    cuda = DEVICE == "cuda"
    sync = torch.cuda.synchronize if cuda else lambda: None
    gc.collect()
    if cuda:
        torch.zeros(1, device=DEVICE)
        torch.cuda.empty_cache()
        before = torch.cuda.mem_get_info()[0]
    step, graph, why = step_of(name, batch, compiled), False, None
    for _ in range(2):
        loss = step()
    if cuda:
        try:
            step, loss = recorded(step)
            graph = True
        except Exception as e:  # a step that cannot be recorded is timed as it is
            why = str(e)[:300]
    times, per = [], 1
    for i in range(16 if cuda else 3):
        sync()
        start = time.perf_counter()
        for _ in range(per):
            out = step()
        sync()
        s = time.perf_counter() - start
        if i == 0:
            per = max(1, int(0.05 / s) + 1)
        else:
            times.append(1000 * s / per)
    if not math.isfinite(float(loss if graph else out)):
        raise RuntimeError("the loss is not finite")
    r = {"form": ("compiled block by block" + ("" if MODE == "default" else ", " + MODE) if compiled else "eager") + (", one CUDA graph" if graph else ""),
         "ms": statistics.median(times), "fastest_ms": min(times), "slowest_ms": max(times)}
    if cuda:
        r["mib"] = (before - torch.cuda.mem_get_info()[0]) / 2**20
    return r | ({"not_recorded": why} if why else {})


def peaks():
    import torch
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    b, big = torch.randn_like(a), torch.randint(0, 255, (1 << 30,), device="cuda", dtype=torch.uint8)
    other = torch.empty_like(big)

    def rate(f, work):
        for _ in range(3):
            f()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(10):
            f()
        torch.cuda.synchronize()
        return 10 * work / (time.perf_counter() - start)
    return {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "bf16_tflops": rate(lambda: a @ b, 2 * 8192**3) / 1e12,
            "copy_gbs": rate(lambda: other.copy_(big), 2 << 30) / 1e9}


def one(out, what):
    """In a process of its own: memory and the compiler's state do not leak."""
    import torch
    torch.set_default_device(DEVICE)  # tables that a twin makes in its forward pass
    torch._dynamo.config.recompile_limit = 64
    if what == "peaks":
        append(out, {"who": "card"} | peaks())
        return
    name, batch = what.split(":")
    for compiled in (False, True):
        torch.manual_seed(0)
        line = {"who": "pytorch", "model": name, "batch": int(batch)}
        try:
            if out == "-":
                step = step_of(name, int(batch), True)
                for _ in range(2):
                    step()
                return
            line |= measure(name, int(batch), compiled)
        except Exception as e:
            line |= {"form": "compiled" if compiled else "eager", "error": f"{type(e).__name__}: {str(e)[:300]}"}
        append(out, line)


def run(out, seconds, jobs):
    end, bad = time.time() + seconds, 0
    for what in (["peaks"] if DEVICE == "cuda" and out != "-" else []) + jobs:
        left = min(end - time.time(), EACH if out != "-" else 1e6)
        if left < EACH / 25:
            print(f"{what}: no time is left", file=sys.stderr)
            continue
        print(f"{what}", file=sys.stderr, flush=True)
        try:
            bad += subprocess.run([sys.executable, os.path.abspath(__file__), "one", out, what], timeout=left).returncode != 0
        except subprocess.TimeoutExpired:
            print(f"{what}: cut after {left:.0f} s", file=sys.stderr)
            bad += 1
    return bad > 0


def table(path):
    lines = [json.loads(l) for l in open(path)] if os.path.exists(path) else []
    card = next((l for l in lines if l["who"] == "card"), None)
    if card:
        print(f"{card['gpu']}: bf16 {card['bf16_tflops']:.0f} TFLOP/s, copies {card['copy_gbs']:.0f} GB/s, PyTorch {card['torch']}")
    seen = []
    for f in (l for l in lines if l["who"] == "forty"):
        key = (f["model"], f["batch"])
        if key in seen:
            continue
        seen.append(key)
        mine = [l for l in lines if l["who"] == "forty" and (l["model"], l["batch"]) == key and "ms" in l]
        theirs = [l for l in lines if l["who"] == "pytorch" and (l["model"], l["batch"]) == key and "ms" in l]
        name = f"{key[0]}:{key[1]}"
        if not mine:
            print(f"{name}: forty {f.get('error', '?')[-120:]}")
            continue
        m = min(mine, key=lambda l: l["ms"])
        text = f"{name}: forty {m['ms']:.2f} ms ({m['fastest_ms']:.2f} to {m['slowest_ms']:.2f}), {m['mib']:.0f} MiB"
        if card:
            text += f", {100 * 2e-3 * m['gmac'] / (m['ms'] / 1000) / card['bf16_tflops']:.1f} % of the card's products"
        if theirs:
            o = min(theirs, key=lambda l: l["ms"])
            text += f"; PyTorch {o['ms']:.2f} ms ({o['form']}): {o['ms'] / m['ms']:.2f}x, memory {m['mib'] / o['mib']:.2f}x" if o.get("mib") else f"; PyTorch {o['ms']:.2f} ms ({o['form']})"
        else:
            text += "; PyTorch not measured"
        print(text)
    return 0


if __name__ == "__main__":
    verb, rest = sys.argv[1], sys.argv[2:]
    if verb == "one":
        sys.exit(one(*rest))
    sys.exit(table(rest[0]) if verb == "table" else run("-", 1e6, rest) if verb == "compile" else run(rest[0], float(rest[1]), rest[2:]))
