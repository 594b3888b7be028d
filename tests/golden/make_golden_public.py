#!/usr/bin/env python3
"""Writes the golden files of test_models.c that public code itself computes, not a twin of ours: weights and inputs by the formula of
make_golden.py, outputs and gradients of the networks as their authors wrote them.
    git clone https://github.com/YingqingHe/LVDM      (d251dcc)
    venv/bin/pip install torch safetensors numpy einops && venv/bin/python tests/golden/make_golden_public.py LVDM
"""
import os
import sys
import types

import torch
from formula_torch import golden, value

checkout = sys.argv[1]
sys.path.insert(0, checkout)
for absent in ("pytorch_lightning", "omegaconf"):  # of its training, which nothing here touches
    sys.modules.setdefault(absent, types.ModuleType(absent))
from lvdm.models.modules import attention_temporal, openaimodel3d

for module in (attention_temporal, openaimodel3d):  # 32 groups are more than a narrow network has channels for
    module.normalization = lambda channels: torch.nn.GroupNorm(8, channels)
forward = attention_temporal.STAttentionBlock.forward
# it adds to its input in place, which the backward pass does not allow where that is a view
attention_temporal.STAttentionBlock.forward = lambda self, x: forward(self, x.clone(memory_format=torch.contiguous_format))
lvdm = openaimodel3d.UNetModel(
    image_size=8, in_channels=16, out_channels=16, model_channels=32, attention_resolutions=[2], num_res_blocks=1, channel_mult=[1, 2],
    num_heads=2, use_checkpoint=False, use_temporal_transformer=False, legacy=False, kernel_size_t=1, padding_t=0, temporal_length=4,
    use_relative_position=True, use_scale_shift_norm=True)
z = value("z", 2 * 4 * 8 * 8 * 16).view(2, 4, 8, 8, 16).permute(0, 4, 1, 2, 3)  # (b,c,t,h,w)
golden("lvdm-public", lvdm, lambda m: m(z.clone(), torch.tensor([17.0, 900.0])).permute(0, 2, 3, 4, 1))
