"""PyTorch twins of public networks that no pip package carries: DINO's backbone, LPIPS, PatchGAN, MedSora's frequency-compensated
VAE (on diffusers'). Used by tests/parity.py and make_golden.py."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class Dino(nn.Module):
    class Block(nn.Module):
        def __init__(self, d, heads):
            super().__init__()
            self.norm1, self.norm2, self.heads = nn.LayerNorm(d, 1e-6), nn.LayerNorm(d, 1e-6), heads
            self.attn, self.mlp = nn.Module(), nn.Module()
            self.attn.qkv, self.attn.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.mlp.fc1, self.mlp.fc2 = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

        def forward(self, x):
            b, t, d = x.shape
            q, k, v = self.attn.qkv(self.norm1(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
            a = (q @ k.transpose(-1, -2) * (d // self.heads) ** -0.5).softmax(-1) @ v
            x = x + self.attn.proj(a.transpose(1, 2).reshape(b, t, d))
            return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))

    def __init__(self, d, heads, patch, depth=12, grid=None):
        super().__init__()
        self.grid, self.patch = grid or 224 // patch, patch
        self.cls_token = nn.Parameter(torch.zeros(1, 1, d))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid**2 + 1, d))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, d, patch, patch)
        self.blocks = nn.ModuleList(Dino.Block(d, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(d, 1e-6)

    def positions(self, h, w):
        n, d = self.grid, self.pos_embed.shape[-1]
        if h == n and w == n:
            return self.pos_embed
        p = self.pos_embed[:, 1:].view(1, n, n, d).permute(0, 3, 1, 2)
        p = F.interpolate(p, scale_factor=((h + 0.1) / n, (w + 0.1) / n), mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], p.permute(0, 2, 3, 1).reshape(1, h * w, d)], 1)

    def forward(self, x):
        h, w = x.shape[2] // self.patch, x.shape[3] // self.patch
        x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.positions(h, w)
        for b in self.blocks:
            x = b(x)
        return self.norm(x)


class LPIPS(nn.Module):
    """net "vgg" or "alex"; the trunk's layers keep torchvision's numbers."""

    def __init__(self, net):
        super().__init__()
        import torchvision.models as tv

        trunk = (tv.vgg16 if net == "vgg" else tv.alexnet)(weights=None).features
        ends = (4, 9, 16, 23, 30) if net == "vgg" else (2, 5, 8, 10, 12)
        chans = (64, 128, 256, 512, 512) if net == "vgg" else (64, 192, 384, 256, 256)
        self.net, self.scaling_layer = nn.Module(), nn.Module()
        at = 0
        for s, end in enumerate(ends):
            part = nn.Sequential()
            for i in range(at, end):
                layer = trunk[i]
                if isinstance(layer, nn.ReLU):
                    layer = nn.ReLU()
                part.add_module(str(i), layer)
            setattr(self.net, f"slice{s + 1}", part)
            lin = nn.Module()
            lin.model = nn.Sequential(nn.Dropout(), nn.Conv2d(chans[s], 1, 1, bias=False))
            setattr(self, f"lin{s}", lin)
            at = end
        self.scaling_layer.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None])
        self.scaling_layer.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[None, :, None, None])

    def forward(self, x, y):
        x, y = ((v - self.scaling_layer.shift) / self.scaling_layer.scale for v in (x, y))
        total = 0
        for s in range(5):
            part = getattr(self.net, f"slice{s + 1}")
            x, y = part(x), part(y)
            a, b = (v / (v.square().sum(1, keepdim=True).sqrt() + 1e-10) for v in (x, y))
            total = total + getattr(self, f"lin{s}").model((a - b).square()).mean((1, 2, 3))
        return total


class PatchGAN(nn.Module):
    def __init__(self):
        super().__init__()
        layers, c = [nn.Conv2d(3, 64, 4, 2, 1), nn.LeakyReLU(0.2)], 64
        for out, stride in ((128, 2), (256, 2), (512, 1)):
            layers += [nn.Conv2d(c, out, 4, stride, 1, bias=False), nn.BatchNorm2d(out), nn.LeakyReLU(0.2)]
            c = out
        self.main = nn.Sequential(*layers, nn.Conv2d(c, 1, 4, 1, 1))

    def forward(self, x):
        return self.main(x)


def frequency_module_2d(channels):
    return nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1), nn.ReLU(), nn.Conv2d(channels, channels, 3, 1, 1), nn.ReLU())


def frequency_module_3d(c):
    return nn.Sequential(nn.BatchNorm3d(c), nn.ReLU(), nn.Dropout(0.2), nn.Conv3d(c, c, 3, 1, 1))


def medsora_vae(channels=(128, 256, 256, 512), latent=16, layers=3, groups=32, chunk_latents=2):
    """diffusers' CogVideoX VAE with MedSora's branches hung behind the middle blocks and the up blocks."""
    from diffusers import AutoencoderKLCogVideoX

    vae = AutoencoderKLCogVideoX(
        block_out_channels=channels, latent_channels=latent, layers_per_block=layers,
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4, norm_num_groups=groups)
    wide = channels[-1] * chunk_latents
    vae.encoder.frequency_compensation = frequency_module_2d(wide)
    vae.decoder.frequency_compensation = frequency_module_2d(wide)
    vae.decoder.up_freq_compensations = nn.ModuleList(frequency_module_3d(c) for c in reversed(channels))

    def middle(module):
        def hook(_, __, out):
            h, cache = out
            b, c, f, y, x = h.shape
            return h + module(h.reshape(b, c * f, y, x)).view_as(h), cache

        return hook

    def level(module):
        return lambda _, __, out: (out[0] + module(out[0]), out[1])

    vae.encoder.mid_block.register_forward_hook(middle(vae.encoder.frequency_compensation))
    vae.decoder.mid_block.register_forward_hook(middle(vae.decoder.frequency_compensation))
    for block, module in zip(vae.decoder.up_blocks, vae.decoder.up_freq_compensations):
        block.register_forward_hook(level(module))
    return vae


# ---- Inception as the TorchScript file of StyleGAN2-ADA holds it: its names, scale-free norms; the preprocessing left out ----


class Conv2dLayer(torch.nn.Module):
    def __init__(self, cin, cout, kh, kw, stride=1, pad=False):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(cout, cin, kh, kw))
        self.beta, self.mean, self.var = (torch.nn.Parameter(torch.zeros(cout)) for _ in range(3))
        self.stride, self.pad = stride, [kh // 2, kw // 2] if pad else [0, 0]

    def forward(self, x):
        x = torch.nn.functional.conv2d(x, self.weight, stride=self.stride, padding=self.pad)
        return torch.nn.functional.relu(torch.nn.functional.batch_norm(x, self.mean, self.var, bias=self.beta, eps=1e-3))


def tower(*layers):
    """(kh, kw, channels in, out[, stride]) each, called conv, conv_1 ...; a string: the average pool before them"""
    out = torch.nn.Sequential()
    k = 0
    for layer in layers:
        if layer == "pool":
            out.add_module("pool", torch.nn.AvgPool2d(3, 1, 1, count_include_pad=False))
            continue
        kh, kw, a, b = layer[:4]
        stride = layer[4] if len(layer) > 4 else 1
        out.add_module(f"conv_{k}" if k else "conv", Conv2dLayer(a, b, kh, kw, stride, stride == 1))
        k += 1
    return out


class Joined(torch.nn.Module):
    def __init__(self, conv, tower, tower_1, tower_2):
        super().__init__()
        self.conv, self.tower, self.tower_1, self.tower_2 = conv, tower, tower_1, tower_2

    def forward(self, x):
        return torch.cat([self.conv(x), self.tower(x), self.tower_1(x), self.tower_2(x)], 1)


class Halved(torch.nn.Module):
    def __init__(self, conv, tower):
        super().__init__()
        self.conv, self.tower, self.pool = conv, tower, torch.nn.MaxPool2d(3, 2)

    def forward(self, x):
        return torch.cat([self.conv(x), self.tower(x), self.pool(x)], 1)


class Halved7(torch.nn.Module):
    def __init__(self, tower, tower_1):
        super().__init__()
        self.tower, self.tower_1, self.pool = tower, tower_1, torch.nn.MaxPool2d(3, 2)

    def forward(self, x):
        return torch.cat([self.tower(x), self.tower_1(x), self.pool(x)], 1)


class Wide(torch.nn.Module):
    def __init__(self, c, pool):
        super().__init__()
        self.conv = Conv2dLayer(c, 320, 1, 1)
        self.tower_conv = Conv2dLayer(c, 384, 1, 1)
        self.tower_mixed_conv = Conv2dLayer(384, 384, 1, 3, pad=True)
        self.tower_mixed_conv_1 = Conv2dLayer(384, 384, 3, 1, pad=True)
        self.tower_1_conv = Conv2dLayer(c, 448, 1, 1)
        self.tower_1_conv_1 = Conv2dLayer(448, 384, 3, 3, pad=True)
        self.tower_1_mixed_conv = Conv2dLayer(384, 384, 1, 3, pad=True)
        self.tower_1_mixed_conv_1 = Conv2dLayer(384, 384, 3, 1, pad=True)
        self.tower_2_pool = pool
        self.tower_2_conv = Conv2dLayer(c, 192, 1, 1)

    def forward(self, x):
        a, b = self.tower_conv(x), self.tower_1_conv_1(self.tower_1_conv(x))
        return torch.cat([self.conv(x), self.tower_mixed_conv(a), self.tower_mixed_conv_1(a), self.tower_1_mixed_conv(b),
                          self.tower_1_mixed_conv_1(b), self.tower_2_conv(self.tower_2_pool(x))], 1)


def seven(c):
    return Joined(Conv2dLayer(768, 192, 1, 1), tower((1, 1, 768, c), (1, 7, c, c), (7, 1, c, 192)),
                  tower((1, 1, 768, c), (7, 1, c, c), (1, 7, c, c), (7, 1, c, c), (1, 7, c, 192)), tower("pool", (1, 1, 768, 192)))


def five(c, pooled):
    return Joined(Conv2dLayer(c, 64, 1, 1), tower((1, 1, c, 48), (5, 5, 48, 64)), tower((1, 1, c, 64), (3, 3, 64, 96), (3, 3, 96, 96)),
                  tower("pool", (1, 1, c, pooled)))


class InceptionNVIDIA(torch.nn.Module):
    def __init__(self):
        super().__init__()
        layers = {"conv": Conv2dLayer(3, 32, 3, 3, 2), "conv_1": Conv2dLayer(32, 32, 3, 3), "conv_2": Conv2dLayer(32, 64, 3, 3, pad=True),
                  "pool0": torch.nn.MaxPool2d(3, 2), "conv_3": Conv2dLayer(64, 80, 1, 1), "conv_4": Conv2dLayer(80, 192, 3, 3),
                  "pool1": torch.nn.MaxPool2d(3, 2), "mixed": five(192, 32), "mixed_1": five(256, 64), "mixed_2": five(288, 64),
                  "mixed_3": Halved(Conv2dLayer(288, 384, 3, 3, 2), tower((1, 1, 288, 64), (3, 3, 64, 96), (3, 3, 96, 96, 2))),
                  "mixed_4": seven(128), "mixed_5": seven(160), "mixed_6": seven(160), "mixed_7": seven(192),
                  "mixed_8": Halved7(tower((1, 1, 768, 192), (3, 3, 192, 320, 2)),
                                     tower((1, 1, 768, 192), (1, 7, 192, 192), (7, 1, 192, 192), (3, 3, 192, 192, 2))),
                  "mixed_9": Wide(1280, torch.nn.AvgPool2d(3, 1, 1, count_include_pad=False)), "mixed_10": Wide(2048, torch.nn.MaxPool2d(3, 1, 1)),
                  "pool2": torch.nn.AvgPool2d(8)}
        self.layers = torch.nn.Sequential()
        for name, layer in layers.items():
            self.layers.add_module(name, layer)
        self.output = torch.nn.Linear(2048, 1008)

    def forward(self, x):
        return self.layers(x).reshape(-1, 2048)
