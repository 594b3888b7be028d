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
