"""PyTorch twins of Endora, FEAT, LVDM and our own forty, from their papers and public code, not for speed: the WKV is
its definition, a sum over all pairs of tokens. Latents are (B,n,s,s,c) as in forty; the first `frames` frames are a clip, the rest
single images. Linear layers of the modulation stand behind an nn.Identity, so that names are those of the public files."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


def patches(conv, z):  # (B,n,s,s,c) -> (B,n,g,g,d)
    B, n, s, _, c = z.shape
    return conv(z.reshape(B * n, s, s, c).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).unflatten(0, (B, n))


def embed(t):
    f = torch.exp(-math.log(10000.0) * torch.arange(128) / 128) * t[:, None]
    return torch.cat([f.cos(), f.sin()], -1)


def table(pos, width):  # (...) -> (..., width): sin half, cos half
    a = pos[..., None] * 10000.0 ** (-torch.arange(width // 2) / (width // 2))
    return torch.cat([a.sin(), a.cos()], -1)


class Base(nn.Module):
    def __init__(self, d, channels, classes):
        super().__init__()
        self.d, self.channels = d, channels
        if classes:  # DiT's, the last row for clips of no class
            self.y_embedder = nn.Module()
            self.y_embedder.embedding_table = nn.Embedding(classes + 1, d)
        self.x_embedder = nn.Module()
        self.x_embedder.proj = nn.Conv2d(channels, d, 2, 2)
        self.t_embedder = nn.Module()
        self.t_embedder.mlp = nn.ModuleList([nn.Linear(256, d), nn.Identity(), nn.Linear(d, d)])
        self.final_layer = nn.Module()
        self.final_layer.adaLN_modulation = nn.Sequential(nn.Identity(), nn.Linear(d, 2 * d))
        self.final_layer.linear = nn.Linear(d, 4 * 2 * channels)

    def label(self, y):
        return 0 if y is None else self.y_embedder.embedding_table(y)

    def head(self, x, c):
        B, n, g, _, d = x.shape
        shift, scale = self.final_layer.adaLN_modulation(c)[:, None, None, None].chunk(2, -1)
        x = self.final_layer.linear(F.layer_norm(x, (d,), eps=1e-6) * (1 + scale) + shift)
        x = x.view(B, n, g, g, 2, 2, -1).permute(0, 1, 2, 4, 3, 5, 6)
        return x.reshape(B, n, 2 * g, 2 * g, -1)


# ---- Endora -----------------------------------------------------------------------------------------------------------------------


class EndoraBlock(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.adaLN_modulation = nn.Sequential(nn.Identity(), nn.Linear(d, 6 * d))
        self.attn, self.mlp = nn.Module(), nn.Module()
        self.attn.qkv, self.attn.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x, c):  # (B,sequences,T,d)
        m = self.adaLN_modulation(c)[:, None, None].chunk(6, -1)
        d = x.shape[-1]
        h = F.layer_norm(x, (d,), eps=1e-6) * (1 + m[1]) + m[0]
        q, k, v = self.attn.qkv(h).unflatten(-1, (3, self.heads, d // self.heads)).permute(3, 0, 1, 4, 2, 5)
        a = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(d // self.heads), -1) @ v
        x = x + m[2] * self.attn.proj(a.transpose(2, 3).flatten(3))
        h = F.layer_norm(x, (d,), eps=1e-6) * (1 + m[4]) + m[3]
        return x + m[5] * self.mlp.fc2(F.gelu(self.mlp.fc1(h), approximate="tanh"))


class Endora(Base):
    def __init__(self, depth=6, d=128, heads=4, grid=4, channels=16, frames=4, classes=0):
        super().__init__(d, channels, classes)
        self.frames = frames
        self.blocks = nn.ModuleList(EndoraBlock(d, heads) for _ in range(depth))
        y, x = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
        self.register_buffer("pos_embed", torch.cat([table(x, d // 2), table(y, d // 2)], -1))
        self.register_buffer("temp_embed", table(torch.arange(frames), d))

    def forward(self, z, t, y=None):
        e = self.t_embedder.mlp
        c = F.silu(e[2](F.silu(e[0](embed(t)))) + self.label(y))
        x = patches(self.x_embedder.proj, z) + self.pos_embed
        B, n, g, _, d = x.shape
        f = self.frames
        for i, b in enumerate(self.blocks):
            if i % 2 == 0:
                x = b(x.view(B, n, g * g, d), c).view(x.shape)
                continue
            clip = x[:, :f].reshape(B, f, g * g, d).transpose(1, 2)
            if i == 1:
                clip = clip + self.temp_embed
            x = torch.cat([b(clip, c).transpose(1, 2).reshape(B, f, g, g, d), x[:, f:]], 1)
        return self.head(x, c)


# ---- FEAT -------------------------------------------------------------------------------------------------------------------------


def phi(x):
    return F.silu(x) / 0.596


def wkv(k, v, w, u):
    """(S,T,d), w, u (d): sum over i of e^(k_i - w(|t-i|-1)) v_i, e^(u+k_t) v_t for i = t, over the same with v = 1"""
    T = k.shape[1]
    t = torch.arange(T)
    away = (t[:, None] - t[None]).abs()
    bonus = torch.where((away == 0)[..., None], u, -w * (away[..., None] - 1.0))  # (T,T,d)
    a = k[:, None] + bonus  # (S,t,i,d)
    p = torch.softmax(a, 2)
    return (p * v[:, None]).sum(2)


def wkv_released(k, v, w, u):
    """The released CUDA kernel weight by weight. k, v (S,T,d), w, u (d)"""
    T = k.shape[1]
    chunk = -(-T // 16)
    rows = []
    for t in range(T):
        s = t // chunk * chunk
        row = []
        for i in range(T):
            if s <= i < t:
                x = torch.exp(-w * (t - i - 1))
            else:
                x = torch.exp(u) if i == t else torch.exp(-w * abs(t - i))
            if s < i <= t:
                x = x + (1 - torch.exp(w)) * torch.exp(w * (t - i))
            row.append(x)
        rows.append(torch.stack(row))
    m = torch.stack(rows) * torch.exp(k)[:, None]  # (S,t,i,d)
    return (m * v[:, None]).sum(2) / m.sum(2)


class Conv(nn.Module):
    """depth-wise, of frames (3x3) or along them (3 taps): (B,n,g,g,d)"""

    def __init__(self, d, along):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(d, 1, 3) if along else torch.zeros(d, 1, 3, 3))

    def forward(self, x):
        B, n, g, _, d = x.shape
        if self.weight.dim() == 4:
            return F.conv2d(x.reshape(B * n, g, g, d).permute(0, 3, 1, 2), self.weight, padding=1, groups=d).permute(0, 2, 3, 1).view(x.shape)
        y = F.conv1d(x.permute(0, 2, 3, 4, 1).reshape(B * g * g, d, n), self.weight, padding=1, groups=d)
        return y.view(B, g, g, d, n).permute(0, 4, 1, 2, 3)


class Point(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(cout, cin, 1, 1))

    def forward(self, x):
        return x @ self.weight[:, :, 0, 0].T


class WKV(nn.Module):
    def __init__(self, d, temporal, released=False):
        super().__init__()
        self.temporal, self.wkv = temporal, wkv_released if released else wkv
        self.dwconv2d = Conv(d, False)
        if temporal:
            self.dwconv1d = Conv(d, True)
        self.key, self.value, self.receptance, self.output = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.spatial_decay, self.spatial_first = (nn.Parameter(torch.zeros(1 if temporal else 2, d)) for _ in range(2))
        self.alpha = nn.Parameter(torch.zeros(2, d))

    def forward(self, h, Z):
        B, n, g, _, d = h.shape
        h = h + self.dwconv2d(h)
        if self.temporal:
            h = h + self.dwconv1d(h)
        k, v, r = self.key(h), self.value(h), torch.sigmoid(self.receptance(h))
        left, y = Z - v, v + self.alpha[0] * Z
        for i in range(1 if self.temporal else 2):
            order = (0, 2, 3, 1, 4) if self.temporal else (0, 1, 2, 3, 4) if i == 0 else (0, 1, 3, 2, 4)
            T = n if self.temporal else g * g
            a, b = (x.permute(order).reshape(-1, T, d) for x in (k, y))
            o = self.wkv(a, b, self.spatial_decay[i] / T, self.spatial_first[i] / T)
            shape = [h.shape[j] for j in order]
            y = o.view(shape).permute([order.index(j) for j in range(5)])
        return self.output(r * (y + self.alpha[1] * left))


class ChannelAttention(nn.Module):
    def __init__(self, d, heads, guided):
        super().__init__()
        self.heads = heads
        self.qkv, self.qkv_dwconv, self.project_out = Point(d, 3 * d), Conv(3 * d, False), Point(d, d)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        if guided:
            self.alpha = nn.Parameter(torch.zeros(2 * d))

    def forward(self, h, Z):
        B, n, g, _, d = h.shape
        q, k, v = self.qkv_dwconv(self.qkv(h)).chunk(3, -1)
        left = Z - v
        if hasattr(self, "alpha"):
            v = v + self.alpha[:d] * Z
        q, k, v = (x.reshape(B * n, g * g, self.heads, d // self.heads).permute(0, 2, 3, 1) for x in (q, k, v))  # (S,heads,c,T)
        a = torch.softmax(self.temperature * (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2)), -1)
        y = (a @ v).permute(0, 3, 1, 2).reshape(B, n, g, g, d)
        if hasattr(self, "alpha"):
            y = y + self.alpha[d:] * left
        return self.project_out(y)


class FeatBlock(nn.Module):
    def __init__(self, d, kind, heads, guided, released):
        super().__init__()
        self.kind = kind
        self.adaLN_modulation = nn.Sequential(nn.Identity(), nn.Linear(d, 6 * d))
        if kind == "channel":
            self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.attn = ChannelAttention(d, heads, guided)
        else:
            self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.att = WKV(d, kind == "temporal", released)
            self.gamma1, self.gamma2 = nn.Parameter(torch.ones(d)), nn.Parameter(torch.ones(d))
        self.ffn = nn.Module()
        self.ffn.project_in, self.ffn.dwconv, self.ffn.project_out = Point(d, 8 * d), Conv(8 * d, False), Point(4 * d, d)

    def forward(self, x, Z, tau):
        channel = self.kind == "channel"
        norm1, norm2 = (self.norm1, self.norm2) if channel else (self.ln1, self.ln2)
        m = self.adaLN_modulation(F.silu(tau) if channel else phi(tau))[:, None, None, None].chunk(6, -1)
        y = (self.attn if channel else self.att)(norm1(x) * (1 + m[1]) + m[0], Z)
        x = x + (1 if channel else self.gamma1) * m[2] * y
        a, b = self.ffn.dwconv(self.ffn.project_in(norm2(x) * (1 + m[4]) + m[3])).chunk(2, -1)
        return x + (1 if channel else self.gamma2) * m[5] * self.ffn.project_out(F.gelu(a) * b)


class Feat(Base):
    def __init__(self, groups=2, d=128, heads=2, channels=16, frames=4, guided=False, released=False, classes=0):
        super().__init__(d, channels, classes)
        self.frames = frames
        self.blocks = nn.ModuleList(FeatBlock(d, k, heads, guided, released) for _ in range(groups) for k in ("spatial", "temporal"))
        self.restormers = nn.ModuleList(FeatBlock(d, "channel", heads, guided, False) for _ in range(groups))
        self.res_conv = nn.Conv2d(channels, 2 * channels, 1)

    def forward(self, z, t, y=None):
        e, f = self.t_embedder.mlp, self.frames
        tau = e[2](phi(e[0](embed(t)))) + self.label(y)
        Z = x = patches(self.x_embedder.proj, z)
        for i, channel in enumerate(self.restormers):
            x = self.blocks[2 * i](x, Z, tau)
            x = torch.cat([self.blocks[2 * i + 1](x[:, :f], Z[:, :f], tau), x[:, f:]], 1)
            x = channel(x, Z, tau)
        B, n, s, _, c = z.shape
        skip = self.res_conv(z.reshape(B * n, s, s, c).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).view(B, n, s, s, 2 * c)
        return self.head(x, phi(tau)) + skip


# ---- forty ------------------------------------------------------------------------------------------------------------------------


class Frames(nn.Conv2d):
    """depth-wise, of every frame: (B,n,h,w,c)"""

    def __init__(self, c):
        super().__init__(c, c, 3, padding=1, groups=c)

    def forward(self, x):
        return super().forward(x.flatten(0, 1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


def modulated(x, shift, scale):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


# ---- LVDM's U-Net, in PyTorch's own layout (B,C,T,H,W) ---------------------------------------------------


def norm(groups, c):
    return nn.GroupNorm(groups, c, 1e-5)


def frame_conv(cin, cout, stride=1):
    return nn.Conv3d(cin, cout, (1, 3, 3), (1, stride, stride), (0, 1, 1))


class LvdmRes(nn.Module):
    def __init__(self, cin, cout, time, groups):
        super().__init__()
        self.in_layers = nn.Sequential(norm(groups, cin), nn.SiLU(), frame_conv(cin, cout))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * cout))
        self.out_layers = nn.Sequential(norm(groups, cout), nn.SiLU(), nn.Identity(), frame_conv(cout, cout))
        self.skip_connection = nn.Conv3d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x, e, f):
        h = self.in_layers(x)
        scale, shift = self.emb_layers(e)[:, :, None, None, None].chunk(2, 1)
        h = self.out_layers[0](h) * (1 + scale) + shift
        return self.skip_connection(x) + self.out_layers[3](F.silu(h))


class Relative(nn.Module):
    def __init__(self, width, reach):
        super().__init__()
        self.embeddings_table = nn.Parameter(torch.zeros(2 * reach + 1, width))
        self.reach = reach

    def forward(self, T):
        t = torch.arange(T)
        return self.embeddings_table[(t[None] - t[:, None]).clamp(-self.reach, self.reach) + self.reach]  # [i, j]: j - i


class LvdmAttention(nn.Module):
    def __init__(self, c, heads, reach, groups, released):
        super().__init__()
        self.heads, self.released = heads, released
        self.norm_s, self.norm_t = norm(groups, c), norm(groups, c)
        self.qkv_s, self.qkv_t, self.proj_out_s, self.proj_out_t = (nn.Conv1d(c, n * c, 1) for n in (3, 3, 1, 1))
        self.relative_position_k, self.relative_position_v = (Relative(c // heads, reach) for _ in range(2))

    def attend(self, qkv, relative):  # (S, 3 * heads * d, T)
        S, w, T = qkv.shape
        q, k, v = qkv.view(S, 3, self.heads, w // self.heads // 3, T).transpose(-1, -2).unbind(1)  # (S,heads,T,d)
        q, k = (x * q.shape[-1] ** -0.25 for x in (q, k))
        logits = q @ k.transpose(-1, -2)
        if relative:  # of the scaled q, so it carries one of the two scales
            R = self.relative_position_k(T)
            logits = logits + (torch.einsum("shjd,jid->shij", q, R) if self.released else torch.einsum("shid,ijd->shij", q, R))
        p = torch.softmax(logits, -1)
        y = p @ v
        if relative:
            y = y + torch.einsum("shij,ijd->shid", p, self.relative_position_v(T))
        return y.transpose(-1, -2).reshape(S, -1, T)

    def forward(self, x, e, f):
        b, c, t, h, w = x.shape
        y = x.transpose(1, 2).reshape(b * t, c, h * w)
        y = y + self.proj_out_s(self.attend(self.qkv_s(self.norm_s(y)), False))
        x = y.view(b, t, c, h, w).transpose(1, 2)
        y = x[:, :, :f].permute(0, 3, 4, 1, 2).reshape(b * h * w, c, f)
        y = y + self.proj_out_t(self.attend(self.qkv_t(self.norm_t(y)), True))
        return torch.cat([y.view(b, h, w, c, f).permute(0, 3, 4, 1, 2), x[:, :, f:]], 2)


class Down(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.op = frame_conv(c, c, 2)

    def forward(self, x, e, f):
        return self.op(x)


class Up(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = frame_conv(c, c)

    def forward(self, x, e, f):
        return self.conv(F.interpolate(x, scale_factor=(1, 2, 2), mode="nearest"))


class Plain(nn.Conv3d):
    def forward(self, x, e, f):
        return super().forward(x)


class Lvdm(nn.Module):
    def __init__(self, width=32, multiple=(1, 2), blocks=1, heads=2, groups=8, channels=16, frames=4, released=False, classes=0, attention=None):
        super().__init__()
        if classes:  # as in guided-diffusion's U-Net, with a last row for clips of no class
            self.label_emb = nn.Embedding(classes + 1, 4 * width)
        self.width, self.frames, time = width, frames, 4 * width
        self.time_embed = nn.Sequential(nn.Linear(width, time), nn.SiLU(), nn.Linear(time, time))
        block = lambda a, b: LvdmRes(a, b, time, groups)
        attention = attention or (lambda c: LvdmAttention(c, heads, frames, groups, released))
        self.input_blocks = nn.ModuleList([nn.ModuleList([Plain(channels, width, (1, 3, 3), padding=(0, 1, 1))])])
        c, kept = width, [width]
        for i, m in enumerate(multiple):
            for _ in range(blocks):
                self.input_blocks.append(nn.ModuleList([block(c, m * width)] + ([attention(m * width)] if i else [])))
                c = m * width
                kept.append(c)
            if i + 1 < len(multiple):
                self.input_blocks.append(nn.ModuleList([Down(c)]))
                kept.append(c)
        self.middle_block = nn.ModuleList([block(c, c), attention(c), block(c, c)])
        self.output_blocks = nn.ModuleList()
        for i, m in reversed(list(enumerate(multiple))):
            for k in range(blocks + 1):
                layers = [block(c + kept.pop(), m * width)] + ([attention(m * width)] if i else [])
                c = m * width
                self.output_blocks.append(nn.ModuleList(layers + ([Up(c)] if i and k == blocks else [])))
        self.out = nn.Sequential(norm(groups, c), nn.SiLU(), frame_conv(c, channels))

    def time(self, t, y):
        a = torch.exp(-math.log(10000.0) * torch.arange(self.width // 2) / (self.width // 2)) * t[:, None]
        e = self.time_embed(torch.cat([a.cos(), a.sin()], -1))
        return e if y is None else e + self.label_emb(y)

    def forward(self, z, t, y=None):
        e = self.time(t, y)
        x, kept = z.permute(0, 4, 1, 2, 3), []
        for layers in self.input_blocks:
            for layer in layers:
                x = layer(x, e, self.frames)
            kept.append(x)
        for layer in self.middle_block:
            x = layer(x, e, self.frames)
        for layers in self.output_blocks:
            x = torch.cat([x, kept.pop()], 1)
            for layer in layers:
                x = layer(x, e, self.frames)
        return self.out(x).permute(0, 2, 3, 4, 1)


class FortyAttention(nn.Module):
    def __init__(self, c, heads, frames, groups):
        super().__init__()
        self.heads, self.norm_st = heads, norm(groups, c)
        self.qkv_st, self.proj_out_st = nn.Conv1d(c, 3 * c, 1), nn.Conv1d(c, c, 1)
        self.frames = nn.Parameter(torch.zeros(frames, c))

    def attend(self, x):  # (S,c,T)
        S, c, T = x.shape
        q, k, v = self.qkv_st(self.norm_st(x)).view(S, 3, self.heads, c // self.heads, T).transpose(-1, -2).unbind(1)
        y = F.scaled_dot_product_attention(q, k, v)  # (S,heads,T,d)
        return x + self.proj_out_st(y.transpose(-1, -2).reshape(S, c, T))

    def forward(self, x, e, f):
        b, c, t, h, w = x.shape
        clip = self.attend((x[:, :, :f] + self.frames.T[None, :, :, None, None]).reshape(b, c, f * h * w)).view(b, c, f, h, w)
        alone = x[:, :, f:].transpose(1, 2).reshape(b * (t - f), c, h * w)  # each image by itself
        return torch.cat([clip, self.attend(alone).view(b, t - f, c, h, w).transpose(1, 2)], 2)


class Forty(Lvdm):
    def __init__(self, width=32, heads=2, groups=8, channels=16, frames=4, classes=0):
        super().__init__(width, (1, 2), 1, heads, groups, channels, frames, False, classes, lambda c: FortyAttention(c, heads, frames, groups))
        self.latent_skip = nn.Linear(4 * width, channels)

    def forward(self, z, t, y=None):
        return super().forward(z, t, y) + z * self.latent_skip(F.silu(self.time(t, y)))[:, None, None, None]


# ---- LVDM's video autoencoder ----------------------------------------------------------------------------------------------------


def pad_same(x, k, stride):
    before_after = []
    for s in reversed(stride):
        p = k - s
        before_after += [p // 2 + p % 2, p // 2]
    return F.pad(x, before_after, mode="replicate")


class SameConv(nn.Module):
    def __init__(self, cin, cout, k=3, stride=(1, 1, 1)):
        super().__init__()
        self.conv, self.k, self.stride = nn.Conv3d(cin, cout, k, stride), k, stride

    def forward(self, x):
        return self.conv(pad_same(x, self.k, self.stride))


class SameUp(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.convt, self.stride = nn.ConvTranspose3d(cin, cout, 4, stride, 3), stride

    def forward(self, x):
        return self.convt(pad_same(x, 4, self.stride))


class AeRes(nn.Module):
    def __init__(self, c, groups):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, c, 1e-6), nn.GroupNorm(groups, c, 1e-6)
        self.conv1, self.conv2 = SameConv(c, c), SameConv(c, c)

    def forward(self, x):
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class LvdmVAE(nn.Module):
    def __init__(self, channels=(16, 32, 64, 96), z=4, groups=8):
        super().__init__()
        strides = ((2, 2, 2), (2, 2, 2), (1, 2, 2))
        e, d = nn.Module(), nn.Module()
        e.conv_first, e.conv_blocks = SameConv(3, channels[0]), nn.ModuleList()
        d.conv_blocks, c = nn.ModuleList(), z
        for i, s in enumerate(strides):
            b = nn.Module()
            b.down, b.res = SameConv(channels[i], channels[i + 1], 4, s), AeRes(channels[i + 1], groups)
            e.conv_blocks.append(b)
            b, out = nn.Module(), channels[3 - i]
            b.up, b.res1, b.res2 = SameUp(c, out, s), AeRes(out, groups), AeRes(out, groups)
            d.conv_blocks.append(b)
            c = out
        e.final_block = nn.Sequential(nn.GroupNorm(groups, channels[-1], 1e-6), nn.SiLU(), SameConv(channels[-1], 2 * z))
        d.conv_out = SameConv(c, 3)
        self.encoder, self.decoder, self.quant_conv, self.post_quant_conv = e, d, SameConv(2 * z, 2 * z, 1), SameConv(z, z, 1)

    def encode(self, x):  # (B,F,S,S,3) -> (B,f,s,s,2z)
        h = self.encoder.conv_first(x.permute(0, 4, 1, 2, 3))
        for b in self.encoder.conv_blocks:
            h = b.res(b.down(h))
        return self.quant_conv(self.encoder.final_block(h)).permute(0, 2, 3, 4, 1)

    def decode(self, z):
        h = self.post_quant_conv(z.permute(0, 4, 1, 2, 3))
        for b in self.decoder.conv_blocks:
            h = b.res2(b.res1(b.up(h)))
        return self.decoder.conv_out(h).permute(0, 2, 3, 4, 1)
