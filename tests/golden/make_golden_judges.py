#!/usr/bin/env python3
"""Writes the golden files of the networks of common/vision/judge.h (test_models.c) with public code: weights and inputs by the formula
of make_golden.py, BatchNorms with a variance of 1/6 (what ReLU and the formula leave of 1), so that the first layers still count at
the end.
    venv/bin/pip install torch torchvision pytorch-fid cd-fvd open_clip_torch safetensors numpy
    venv/bin/python tests/golden/make_golden_judges.py
"""
from functools import partial

import pytorch_fid.inception as fid
import torch
from cdfvd.third_party.i3d.pytorch_i3d import InceptionI3d
from cdfvd.third_party.VideoMAEv2.videomaev2_finetune import VisionTransformer as VideoMAE
from open_clip.transformer import LayerNorm, QuickGELU, VisionTransformer
from formula_torch import golden, value


def spread(m):
    for b in m.modules():
        if isinstance(b, (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)):
            b.running_var.fill_(1 / 6)
    return m.eval()


def pictures(n, size):
    return value("x", n * size * size * 3).view(n, size, size, 3).permute(0, 3, 1, 2)


def clips(n, frames, size):
    return value("x", n * frames * size * size * 3).view(n, frames, size, size, 3).permute(0, 4, 1, 2, 3)


fid.load_state_dict_from_url = lambda *a, **k: fid._inception_v3(num_classes=1008, aux_logits=False, weights=None).state_dict()
net = spread(fid.fid_inception_v3())
net.fc = torch.nn.Identity()
with torch.no_grad():
    golden("inception", net, lambda m: torch.nn.Sequential(*[
        layer for name, layer in m.named_children() if name not in ("AuxLogits", "dropout", "fc")])(pictures(2, 107)).flatten(1), False)
    net = spread(InceptionI3d(400, in_channels=3))
    net.avg_pool = torch.nn.AvgPool3d([2, 3, 3], 1)  # as a clip of 68 pixels ends
    golden("i3d", net, lambda m: m(clips(1, 9, 68)), False)
    tower = VisionTransformer(32, 8, 48, 3, 3, 4.0, output_dim=24, act_layer=QuickGELU, norm_layer=LayerNorm)
    golden("clip-tiny", torch.nn.ModuleDict({"visual": tower}).eval(), lambda m: m["visual"](pictures(2, 32)), False)
    net = VideoMAE(32, 8, num_classes=5, embed_dim=48, depth=3, num_heads=3, mlp_ratio=48 / 11, qkv_bias=True, all_frames=16, tubelet_size=2,
                   norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), use_mean_pooling=True)
    golden("videomae-tiny", net.eval(), lambda m: m.forward_features(clips(2, 16, 32)), False)
