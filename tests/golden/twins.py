"""PyTorch twins of forty's networks, under the same tensor names. Used by make_golden.py and as opponents in benchmarks."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class X3DBlock(nn.Module):
    def __init__(self, cin, inner, out, stride, squeeze):
        super().__init__()
        self.branch2 = nn.Module()
        b = self.branch2
        b.conv_a = nn.Conv3d(cin, inner, 1, bias=False)
        b.norm_a = nn.BatchNorm3d(inner)
        b.conv_b = nn.Conv3d(inner, inner, 3, (1, stride, stride), 1, groups=inner, bias=False)
        se = nn.Identity()
        if squeeze:
            want = inner / 16
            n = max(8, int(want + 4) // 8 * 8)
            n = n + 8 if n < 0.9 * want else n
            se = nn.Module()
            se.block = nn.Sequential(nn.Conv3d(inner, n, 1), nn.ReLU(), nn.Conv3d(n, inner, 1), nn.Sigmoid())
        b.norm_b = nn.Sequential(nn.BatchNorm3d(inner), se)
        b.conv_c = nn.Conv3d(inner, out, 1, bias=False)
        b.norm_c = nn.BatchNorm3d(out)
        self.squeeze = squeeze
        if cin != out or stride != 1:
            self.branch1_conv = nn.Conv3d(cin, out, 1, (1, stride, stride), bias=False)
        if cin != out:
            self.branch1_norm = nn.BatchNorm3d(out)

    def forward(self, x):
        b = self.branch2
        y = F.relu(b.norm_a(b.conv_a(x)))
        y = b.norm_b[0](b.conv_b(y))
        if self.squeeze:
            y = y * b.norm_b[1].block(y.mean((2, 3, 4), keepdim=True))
        y = b.norm_c(b.conv_c(F.silu(y)))
        if hasattr(self, "branch1_conv"):
            x = self.branch1_conv(x)
        if hasattr(self, "branch1_norm"):
            x = self.branch1_norm(x)
        return F.relu(x + y)


class X3D(nn.Module):
    PRESETS = {
        "x3d-tiny": (16, (16, 32, 48, 64), (32, 64, 96, 128), (1, 2, 2, 1), 256, 3),
        "x3d-s": (24, (24, 48, 96, 192), (54, 108, 216, 432), (3, 5, 11, 7), 2048, 5),
    }

    def __init__(self, preset, classes):
        super().__init__()
        stem, out, inner, blocks, head, kt = self.PRESETS[preset]
        first = nn.Module()
        first.conv = nn.Module()
        first.conv.conv_t = nn.Conv3d(3, stem, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False)
        first.conv.conv_xy = nn.Conv3d(stem, stem, (kt, 1, 1), 1, (kt // 2, 0, 0), groups=stem, bias=False)
        first.norm = nn.BatchNorm3d(stem)
        layers, c = [first], stem
        for o, i, n in zip(out, inner, blocks):
            stage = nn.Module()
            stage.res_blocks = nn.ModuleList(X3DBlock(c if j == 0 else o, i, o, 2 if j == 0 else 1, j % 2 == 0) for j in range(n))
            layers.append(stage)
            c = o
        last = nn.Module()
        last.pool = nn.Module()
        last.pool.pre_conv = nn.Conv3d(c, inner[-1], 1, bias=False)
        last.pool.pre_norm = nn.BatchNorm3d(inner[-1])
        last.pool.post_conv = nn.Conv3d(inner[-1], head, 1, bias=False)
        last.proj = nn.Linear(head, classes)
        layers.append(last)
        self.blocks = nn.ModuleList(layers)

    def forward(self, x):  # (B,3,T,H,W)
        b = self.blocks[0]
        x = F.relu(b.norm(b.conv.conv_xy(b.conv.conv_t(x))))
        for stage in self.blocks[1:-1]:
            for block in stage.res_blocks:
                x = block(x)
        h = self.blocks[-1]
        x = F.relu(h.pool.pre_norm(h.pool.pre_conv(x))).mean((2, 3, 4), keepdim=True)
        return h.proj(F.relu(h.pool.post_conv(x)).flatten(1))


# ---- MedSora -------------------------------------------------------------------------------------------------------------


def spiral(R, C, clockwise):
    seen, out = set(), []
    y, x, d = 0, 0, (0, 1) if clockwise else (1, 0)
    turn = {(0, 1): (1, 0), (1, 0): (0, -1), (0, -1): (-1, 0), (-1, 0): (0, 1)}
    if not clockwise:
        turn = {v: k for k, v in turn.items()}
    for _ in range(R * C):
        out.append(y * C + x)
        seen.add((y, x))
        n = (y + d[0], x + d[1])
        if not (0 <= n[0] < R and 0 <= n[1] < C) or n in seen:
            d = turn[d]
            n = (y + d[0], x + d[1])
        y, x = n
    return out


def scan_order(R, C, variant, reverse):
    order = []
    for k in spiral(R, C, variant < 4):
        y, x = divmod(k, C)
        order.append((R - 1 - y if variant & 2 else y) * C + (C - 1 - x if variant & 1 else x))
    return torch.tensor(order[::-1] if reverse else order)


class Mamba(nn.Module):
    """Mamba-2 by its recurrence, one step at a time."""

    def __init__(self, d, expand, headdim, state, gates):
        super().__init__()
        E, N = d * expand, state
        H = E // headdim
        self.E, self.N, self.H = E, N, H
        self.in_proj = nn.Linear(d, 2 * E + 2 * N + H, bias=False)
        self.conv1d = nn.Conv1d(E + 2 * N, E + 2 * N, 4, groups=E + 2 * N, padding=3)
        self.dt_bias, self.A_log, self.D = (nn.Parameter(torch.zeros(H)) for _ in range(3))
        self.norm = nn.Module()
        self.norm.weight = nn.Parameter(torch.ones(E))
        self.out_proj = nn.Linear(E, d, bias=False)
        if gates:
            self.gated_fusion = nn.Module()
            self.gated_fusion.gate_F1, self.gated_fusion.gate_F2 = nn.Linear(d, d), nn.Linear(d, d)

    def core(self, zx):  # (S,T,2E+2N+H)
        E, N, H = self.E, self.N, self.H
        z, xbc, dt = zx.split([E, E + 2 * N, H], -1)
        T = zx.shape[1]
        a = F.silu(self.conv1d(xbc.transpose(1, 2))[..., :T].transpose(1, 2))
        x, B, C = a.split([E, N, N], -1)
        x = x.unflatten(-1, (H, E // H))
        dt = F.softplus(dt + self.dt_bias)
        state, out = 0, []
        for t in range(T):
            keep = torch.exp(-dt[:, t] * self.A_log.exp())[:, :, None, None]
            state = keep * state + dt[:, t][:, :, None, None] * x[:, t][..., None] * B[:, t][:, None, None, :]
            out.append((state * C[:, t][:, None, None, :]).sum(-1) + self.D[:, None] * x[:, t])
        u = torch.stack(out, 1).flatten(2) * F.silu(z)
        return self.out_proj(self.norm.weight * u * torch.rsqrt(u.pow(2).mean(-1, keepdim=True) + 1e-5))


def ssd_matrix(x, B, C, dt, A, D):
    """The same scan in its quadratic form, for benchmarks: x (S,T,H,P), B and C (S,T,N), dt (S,T,H)."""
    s = (dt * A).cumsum(1)
    L = torch.exp((s[:, :, None] - s[:, None]).masked_fill(~torch.ones(s.shape[1], s.shape[1], dtype=torch.bool).tril()[None, :, :, None], float("-inf")))
    M = L * (C @ B.transpose(1, 2))[..., None] * dt[:, None]
    return torch.einsum("sijh,sjhp->sihp", M.to(x.dtype), x) + D[:, None] * x


def local_attention(q, k, v, w):  # (S,T,d), windows of w
    T, d = q.shape[1:]
    i = torch.arange(T, dtype=torch.float32)
    theta = 10000 ** (-2 * torch.arange(d // 2) / d)

    def rotate(x, pos):
        a, b = x.chunk(2, -1)
        ang = pos[:, None] * theta
        return torch.cat([a * ang.cos() - b * ang.sin(), b * ang.cos() + a * ang.sin()], -1)

    q, k = rotate(q * d**-0.5, i + w), rotate(k, i)
    s = q @ k.transpose(1, 2)
    s = s.masked_fill((i[:, None] - i[None]).abs() > w, float("-inf"))
    return s.softmax(-1) @ v


class MedSoraBlock(nn.Module):
    def __init__(self, d, expand, headdim, state, grid, index):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(d) for _ in range(3))
        self.adaLN_modulation = nn.Sequential(nn.Identity(), nn.Linear(d, 9 * d))
        self.query_matrix, self.key_matrix, self.value_matrix = (nn.Linear(d, d, bias=False) for _ in range(3))
        self.mamba_hw = Mamba(d, expand, headdim, state, True)
        self.mamba_f = Mamba(d, expand, headdim, state, False)
        self.index = index

    def local(self, u):  # (B,n,g,g,d); a window is a row
        B, n, g, _, d = u.shape
        rows = (m(u).view(B * n, g * g, d) for m in (self.query_matrix, self.key_matrix, self.value_matrix))
        return local_attention(*rows, g).view(B, n, g, g, d)

    def spatial(self, u):  # (B,n,g,g,d)
        m, (B, n, g, _, d) = self.mamba_hw, u.shape
        zx, y = m.in_proj(u), 0
        for view, gate in ((0, m.gated_fusion.gate_F1), (1, m.gated_fusion.gate_F2)):
            s = zx.permute(0, 2, 1, 3, 4) if view == 0 else zx.permute(0, 3, 1, 2, 4)
            s = s.reshape(B * g, n * g, -1)
            o = 0
            for reverse in (False, True):
                order = scan_order(n, g, self.index % 8, reverse)
                o = o + m.core(s[:, order])[:, torch.argsort(order)]
            o = o.view(B, g, n, g, d)
            o = o.permute(0, 2, 1, 3, 4) if view == 0 else o.permute(0, 2, 3, 1, 4)
            y = y + torch.sigmoid(gate(o)) * o
        return y

    def temporal(self, u):
        m, (B, n, g, _, d) = self.mamba_f, u.shape
        s = m.in_proj(u).permute(0, 2, 3, 1, 4).reshape(B * g * g, n, -1)
        return m.core(s).view(B, g, g, n, d).permute(0, 3, 1, 2, 4)

    def forward(self, x, c):
        mod = self.adaLN_modulation(c)[:, None, None, None].chunk(9, -1)
        B, n, g, _, d = x.shape
        parts = [self.local, self.spatial, self.temporal]
        for i, norm in enumerate((self.norm1, self.norm2, self.norm3)):
            h = norm(x) * (1 + mod[3 * i + 1]) + mod[3 * i]
            x = x + mod[3 * i + 2] * parts[i](h)
        return x


class MedSora(nn.Module):
    def __init__(self, depth=4, d=128, expand=2, headdim=32, state=32, grid=4, channels=16, classes=0):
        super().__init__()
        if classes:  # DiT's, the last row for clips of no class
            self.y_embedder = nn.Module()
            self.y_embedder.embedding_table = nn.Embedding(classes + 1, d)
        self.d, self.grid, self.channels = d, grid, channels
        self.x_embedder = nn.Module()
        self.x_embedder.proj = nn.Conv2d(channels, d, 2, 2)
        self.t_embedder = nn.Module()
        self.t_embedder.mlp = nn.Sequential(nn.Linear(256, d), nn.SiLU(), nn.Linear(d, d))
        self.blocks = nn.ModuleList(MedSoraBlock(d, expand, headdim, state, grid, i) for i in range(depth))
        self.final_layer = nn.Module()
        self.final_layer.adaLN_modulation = nn.Sequential(nn.Identity(), nn.Linear(d, 2 * d))
        self.final_layer.linear = nn.Linear(d, 4 * 2 * channels)
        q = d // 4
        w = 10000 ** (-torch.arange(q) / q)
        y, x = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
        table = [f(p[..., None] * w) for p in (x, y) for f in (torch.sin, torch.cos)]
        self.register_buffer("pos_embed", torch.cat(table, -1).reshape(1, grid * grid, d))

    def forward(self, z, t, y=None):  # z (B,n,s,s,c)
        B, n, s, _, c = z.shape
        g, d = self.grid, self.d
        x = self.x_embedder.proj(z.reshape(B * n, s, s, c).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).reshape(B, n, g, g, d)
        x = x + self.pos_embed.view(g, g, d)
        f = torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(128) / 128) * t[:, None]
        e = self.t_embedder.mlp(torch.cat([f.cos(), f.sin()], -1))
        e = F.silu(e if y is None else e + self.y_embedder.embedding_table(y))
        for b in self.blocks:
            x = b(x, e)
        shift, scale = self.final_layer.adaLN_modulation(e)[:, None, None, None].chunk(2, -1)
        x = F.layer_norm(x, (d,), eps=1e-6) * (1 + scale) + shift
        x = self.final_layer.linear(x).view(B * n, g, g, 2, 2, 2 * c).permute(0, 1, 3, 2, 4, 5)
        return x.reshape(B, n, s, s, 2 * c)


# ---- the causal video VAE --------------------------------------------------------------------------------------------------


class Causal(nn.Module):
    def __init__(self, cin, cout, kt):
        super().__init__()
        self.conv = nn.Conv3d(cin, cout, (kt, 3, 3), padding=(0, 1, 1))
        self.kt = kt

    def forward(self, x):
        return self.conv(torch.cat([x[:, :, :1]] * (self.kt - 1) + [x], 2))


class Res(nn.Module):
    def __init__(self, cin, cout, kt, groups):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, cin, 1e-6), nn.GroupNorm(groups, cout, 1e-6)
        self.conv1, self.conv2 = Causal(cin, cout, kt), Causal(cout, cout, kt)
        if cin != cout:
            self.conv_shortcut = nn.Conv3d(cin, cout, 1)

    def forward(self, x):
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x) + h


class FrameConv(nn.Module):
    def __init__(self, c, stride):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, stride, 0 if stride == 2 else 1)
        self.stride = stride

    def forward(self, x):
        b, c, t, h, w = x.shape
        y = x.transpose(1, 2).reshape(b * t, c, h, w)
        y = self.conv(F.pad(y, (0, 1, 0, 1)) if self.stride == 2 else y)
        return y.view(b, t, c, *y.shape[2:]).transpose(1, 2)


class VAE(nn.Module):
    def __init__(self, z=16, patch=4, channels=(48, 96, 96), kernel_t=(1, 3, 3), down_t=(2, 2, 1), down_s=(2, 1, 1), groups=8):
        super().__init__()
        self.z, self.patch, self.down_t, self.down_s, n = z, patch, down_t, down_s, len(channels)
        e = self.encoder = nn.Module()
        e.conv_in = Causal(3 * patch * patch, channels[0], kernel_t[0])
        e.down_blocks, c = nn.ModuleList(), channels[0]
        for i in range(n):
            b = nn.Module()
            b.resnets = nn.ModuleList([Res(c, channels[i], kernel_t[i], groups)])
            if i + 1 < n:
                b.downsamplers = nn.ModuleList([FrameConv(channels[i], down_s[i])])
            e.down_blocks.append(b)
            c = channels[i]
        e.mid_block = nn.Module()
        e.mid_block.resnets = nn.ModuleList([Res(c, c, 3, groups)])
        e.norm_out, e.conv_out = nn.GroupNorm(groups, c, 1e-6), Causal(c, 2 * z, 3)
        d = self.decoder = nn.Module()
        d.conv_in = Causal(z, c, 3)
        d.mid_block = nn.Module()
        d.mid_block.resnets = nn.ModuleList([Res(c, c, 3, groups)])
        d.up_blocks = nn.ModuleList()
        for i in reversed(range(n)):
            b = nn.Module()
            b.resnets = nn.ModuleList([Res(c, channels[i], kernel_t[i], groups)])
            if i > 0:
                b.upsamplers = nn.ModuleList([FrameConv(channels[i], 1)])
            d.up_blocks.append(b)
            c = channels[i]
        d.norm_out, d.conv_out = nn.GroupNorm(groups, c, 1e-6), Causal(c, 3 * patch * patch, kernel_t[0])

    def encode(self, x):  # (B,F,S,S,3) -> (B,f,s,s,2z)
        b, t, s, _, _ = x.shape
        p, e = self.patch, self.encoder
        h = x.view(b, t, s // p, p, s // p, p, 3).permute(0, 3, 5, 6, 1, 2, 4).reshape(b, 3 * p * p, t, s // p, s // p)
        h = e.conv_in(h)
        for i, blk in enumerate(e.down_blocks):
            h = blk.resnets[0](h)
            if hasattr(blk, "downsamplers"):
                if self.down_t[i] == 2:
                    h = h.unflatten(2, (-1, 2)).mean(3)
                h = blk.downsamplers[0](h)
        h = e.conv_out(F.silu(e.norm_out(e.mid_block.resnets[0](h)))).permute(0, 2, 3, 4, 1)
        return torch.cat([h[..., : self.z], h[..., self.z :].clamp(-30, 20)], -1)

    def decode(self, z):  # (B,f,s,s,z) -> (B,F,S,S,3)
        d, p, n = self.decoder, self.patch, len(self.down_t)
        h = d.mid_block.resnets[0](d.conv_in(z.permute(0, 4, 1, 2, 3)))
        for i, blk in enumerate(d.up_blocks):
            h = blk.resnets[0](h)
            if hasattr(blk, "upsamplers"):
                k = n - 2 - i
                h = h.repeat_interleave(self.down_t[k], 2).repeat_interleave(self.down_s[k], 3).repeat_interleave(self.down_s[k], 4)
                h = blk.upsamplers[0](h)
        h = d.conv_out(F.silu(d.norm_out(h)))
        b, _, t, s, _ = h.shape
        return h.view(b, p, p, 3, t, s, s).permute(0, 4, 5, 1, 6, 2, 3).reshape(b, t, s * p, s * p, 3)


# ---- R(2+1)D: torchvision's r2plus1d_18 in any width; and TimeSformer ---------------------------------


def factorised(cin, cmid, cout, stride=1):
    return nn.Sequential(nn.Conv3d(cin, cmid, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False), nn.BatchNorm3d(cmid), nn.ReLU(),
                         nn.Conv3d(cmid, cout, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False))


class R2Plus1DBlock(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        mid = 27 * cin * cout // (9 * cin + 3 * cout)
        self.conv1 = nn.Sequential(factorised(cin, mid, cout, stride), nn.BatchNorm3d(cout), nn.ReLU())
        self.conv2 = nn.Sequential(factorised(cout, mid, cout), nn.BatchNorm3d(cout))
        self.downsample = None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(nn.Conv3d(cin, cout, 1, stride, bias=False), nn.BatchNorm3d(cout))

    def forward(self, x):
        return F.relu(self.conv2(self.conv1(x)) + (x if self.downsample is None else self.downsample(x)))


class R2Plus1D(nn.Module):
    def __init__(self, stem=12, widths=(16, 24, 32, 48), blocks=1, classes=3):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(3, stem, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False), nn.BatchNorm3d(stem), nn.ReLU(),
                                  nn.Conv3d(stem, widths[0], (3, 1, 1), 1, (1, 0, 0), bias=False), nn.BatchNorm3d(widths[0]), nn.ReLU())
        c = widths[0]
        for i, w in enumerate(widths):
            layer = [R2Plus1DBlock(c if k == 0 else w, w, 2 if i and k == 0 else 1) for k in range(blocks)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*layer))
            c = w
        self.fc = nn.Linear(c, classes)

    def forward(self, x):  # (B,3,T,H,W)
        return self.fc(self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x))))).mean((2, 3, 4)))


class EyeBlock(nn.Module):
    def __init__(self, cin, cout, time, space):
        super().__init__()
        self.space = nn.Conv3d(cin, cout, (1, 3, 3), (1, space, space), (0, 1, 1), bias=False)
        self.time = nn.Conv3d(cout, cout, (3, 1, 1), (time, 1, 1), (1, 0, 0), bias=False)
        self.norm1, self.norm2 = nn.BatchNorm3d(cout), nn.BatchNorm3d(cout)
        self.skip = None
        if cin != cout or time > 1 or space > 1:
            self.skip, self.norm3 = nn.Conv3d(cin, cout, 1, (time, space, space), bias=False), nn.BatchNorm3d(cout)

    def forward(self, x):
        y = self.norm2(self.time(F.relu(self.norm1(self.space(x)))))
        return F.relu(y + (x if self.skip is None else self.norm3(self.skip(x))))


class Eye(nn.Module):
    def __init__(self, stem=24, widths=(32, 64, 128), blocks=2, classes=3):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv3d(3, stem, (1, 5, 5), (1, 2, 2), (0, 2, 2), bias=False), nn.BatchNorm3d(stem)
        c = stem
        for i, w in enumerate(widths):
            stage = [EyeBlock(c if j == 0 else w, w, 2 if i == 1 and j == 0 else 1, 2 if j == 0 else 1) for j in range(blocks)]
            setattr(self, f"stage{i + 1}", nn.Sequential(*stage))
            c = w
        self.head = nn.Linear(c, classes)

    def forward(self, x):  # (B,3,T,H,W)
        return self.head(self.stage3(self.stage2(self.stage1(F.relu(self.stem_norm(self.stem(x)))))).mean((2, 3, 4)))


class TimeAttention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(d, 3 * d), nn.Linear(d, d), heads

    def forward(self, x):  # (S,T,d)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        a = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1)
        return self.proj((a @ v).transpose(1, 2).flatten(2))


class TimeSformerBlock(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.norm1, self.norm2, self.temporal_norm1 = (nn.LayerNorm(d, eps=1e-6) for _ in range(3))
        self.attn, self.temporal_attn, self.temporal_fc = TimeAttention(d, heads), TimeAttention(d, heads), nn.Linear(d, d)
        self.mlp = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x, T):  # (B,1+N T,d), the time fastest
        B, _, d = x.shape
        cls, p = x[:, :1], x[:, 1:]
        N = p.shape[1] // T
        p = p + self.temporal_fc(self.temporal_attn(self.temporal_norm1(p.reshape(B * N, T, d)))).reshape(B, N * T, d)
        frames = p.view(B, N, T, d).transpose(1, 2).reshape(B * T, N, d)
        s = torch.cat([cls.repeat_interleave(T, 0), frames], 1)
        r = self.attn(self.norm1(s)).view(B, T, 1 + N, d)
        cls = cls + r[:, :, 0].mean(1, keepdim=True)
        p = p + r[:, :, 1:].transpose(1, 2).reshape(B, N * T, d)
        x = torch.cat([cls, p], 1)
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


class TimeSformer(nn.Module):
    def __init__(self, d=96, depth=4, heads=3, patch=8, frames=16, size=64, classes=3):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, d, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, d))
        self.pos_embed = nn.Parameter(torch.zeros(1, (size // patch) ** 2 + 1, d))
        self.time_embed = nn.Parameter(torch.zeros(1, frames, d))
        self.blocks = nn.ModuleList(TimeSformerBlock(d, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(d, eps=1e-6), nn.Linear(d, classes)

    def forward(self, x):  # (B,3,T,S,S)
        B, _, T = x.shape[:3]
        t = self.patch_embed.proj(x.transpose(1, 2).flatten(0, 1))
        g, d = t.shape[-1], t.shape[1]
        place, old = self.pos_embed[:, 1:], round((self.pos_embed.shape[1] - 1) ** 0.5)
        if old != g:
            place = F.interpolate(place.view(1, old, old, d).permute(0, 3, 1, 2), (g, g), mode="nearest").permute(0, 2, 3, 1).reshape(1, g * g, d)
        when = self.time_embed
        if when.shape[1] != T:
            when = F.interpolate(when.transpose(1, 2), T, mode="nearest").transpose(1, 2)
        t = t.flatten(2).transpose(1, 2) + place  # (B T,N,d)
        t = t.view(B, T, g * g, d) + when[:, :, None]
        x = torch.cat([(self.cls_token + self.pos_embed[:, :1]).expand(B, 1, d), t.transpose(1, 2).reshape(B, -1, d)], 1)
        for b in self.blocks:
            x = b(x, T)
        return self.head(self.norm(x)[:, 0])


# ---- multiple-instance learning (Tian et al. 2022) -----------------------------------------------------------------------------


class MilProjection(nn.Module):
    def __init__(self, d, stride):
        super().__init__()
        self.conv, self.bn = nn.Conv1d(d, d, 3, stride, 1, groups=d, bias=False), nn.BatchNorm1d(d)

    def forward(self, x):  # (B,1+N,d)
        return torch.cat([x[:, :1], self.bn(self.conv(x[:, 1:].transpose(1, 2))).transpose(1, 2)], 1)


class MilAttention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        for which, stride in (("q", 1), ("k", 2), ("v", 2)):
            setattr(self, "conv_proj_" + which, MilProjection(d, stride))
            setattr(self, "proj_" + which, nn.Linear(d, d))
        self.proj = nn.Linear(d, d)

    def forward(self, x):
        split = lambda t: t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        q, k, v = (split(getattr(self, "proj_" + w)(getattr(self, "conv_proj_" + w)(x))) for w in "qkv")
        a = torch.softmax(q @ k.transpose(-1, -2) * x.shape[-1] ** -0.5, -1)
        return self.proj((a @ v).transpose(1, 2).flatten(2))


class Mil(nn.Module):
    def __init__(self, tokens, segments=16, width=24, depth=2, heads=4, hidden=(32, 16)):
        super().__init__()
        d = segments if tokens == "channel" else width
        self.tokens = tokens
        self.conv1d = nn.Conv1d(width, width, 3, padding=1)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, d))
        self.blocks = nn.ModuleList()
        for _ in range(depth):
            b = nn.Module()
            b.norm1, b.norm2, b.attn, b.mlp = nn.LayerNorm(d), nn.LayerNorm(d), MilAttention(d, heads), nn.Module()
            b.mlp.fc1, b.mlp.fc2 = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
            self.blocks.append(b)
        self.head = nn.Linear(d, 1)
        self.fc1, self.fc2, self.fc3 = nn.Linear(width, hidden[0]), nn.Linear(hidden[0], hidden[1]), nn.Linear(hidden[1], 1)

    def forward(self, x):  # (B,T,D) -> logits (B,1+T): the video, its snippets; no dropout
        e = self.conv1d(x.transpose(1, 2)).transpose(1, 2)
        t = e.transpose(1, 2) if self.tokens == "channel" else e
        t = torch.cat([self.cls_token.expand(t.shape[0], -1, -1), t], 1)
        for b in self.blocks:
            t = t + b.attn(b.norm1(t))
            t = t + b.mlp.fc2(F.gelu(b.mlp.fc1(b.norm2(t))))
        return torch.cat([self.head(t[:, 0]), self.fc3(F.relu(self.fc2(F.relu(self.fc1(e))))).squeeze(-1)], 1)


def mil_loss(embedding, score, video, margin, smooth, sparse, contrast):
    """Video by video, with sorts and scipy's erosion: (total, video, ranking, contrast) of B normal and B abnormal videos."""
    import numpy as np
    from scipy.ndimage import binary_erosion

    B, T = score.shape[0] // 2, score.shape[1]
    easy, hard = max(T // 8, 1), max(T // 16, 1)
    bce = F.binary_cross_entropy_with_logits(video[:, 0], torch.arange(2 * B).ge(B).to(video.dtype))
    ranking = nce = 0
    unit = lambda v: F.normalize(v, dim=-1)
    for n, a in ((b, b + B) for b in range(B)):
        sn, sa = score[n], score[a]
        ranking = ranking + F.relu(margin - sa.topk(3).values.mean() + sn.topk(3).values.mean())
        ranking = ranking + smooth * sa.diff().square().sum() + sparse * sa.norm()
        high = sa.detach().numpy() > np.median(sa.detach().numpy())
        window = np.convolve(high, np.ones(10), "full")[4 : 4 + T]  # offsets -5 to 4
        region = (binary_erosion(high, np.ones(2)) & ~binary_erosion(high, np.ones(4))) | (~high & (window > 8))
        pick = lambda v, k: v.detach().topk(k).indices
        en, ea = embedding[n], embedding[a]
        easy_a, easy_n = ea[pick(sa, easy)], en[pick(-sn, easy)]
        hard_a, hard_n = ea[pick(sa * torch.from_numpy(region), hard)], en[pick(sn, hard)]
        for q, k, other in ((hard_a, easy_a, easy_n), (hard_n, easy_n, easy_a)):
            q, k = unit(q.mean(0)), unit(k.mean(0))
            z = torch.cat([(q @ k).view(1), unit(other) @ q]) / 0.07
            nce = nce - z.log_softmax(0)[0]
    ranking, nce = ranking / B, nce / B
    return torch.stack([bce + ranking + contrast * nce, bce, ranking, nce])
