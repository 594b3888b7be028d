#!/usr/bin/env python3
"""Small files as torch.save writes them, for test_weights.c: both containers, nested dicts, objects of other classes, views, every
dtype.     venv/bin/pip install torch && venv/bin/python tests/golden/make_golden_pth.py"""
import argparse
import collections
import os
import zipfile

import torch

here = os.path.dirname(os.path.abspath(__file__))
base = torch.arange(24, dtype=torch.float32)
state = collections.OrderedDict(
    plain=base.view(2, 3, 4),
    transposed=base.view(4, 6).t(),
    part=base[5:11],
    shared=base.view(2, 12)[1],
    expanded=torch.tensor([7.0]).expand(3, 2),
    scalar=torch.tensor(2.5),
    empty=torch.zeros(0, 3),
    half=torch.tensor([1.5, -2.0, 65504.0], dtype=torch.float16),
    bfloat=torch.tensor([1.5, -2.0, 3e38], dtype=torch.bfloat16),
    double=torch.tensor([1e-3, -1e3], dtype=torch.float64),
    long=torch.tensor([-5, 1 << 40], dtype=torch.int64),
    parameter=torch.nn.Parameter(torch.tensor([0.25, 0.5])),
)
state["channels_last"] = base.view(1, 2, 3, 4).to(memory_format=torch.channels_last)
nested = {"epoch": 3, "lr": 1e-4, "args": argparse.Namespace(name="x", sizes=[1, 2]), "name": "caf\u00e9" * 40, "big": 1 << 70,
          "student": {}, "teacher": {"module.backbone." + k: v for k, v in state.items()},
          "optimizer": {"state": {0: {"step": 5, "exp_avg": torch.zeros(2)}}, "param_groups": [{"betas": (0.9, 0.999)}]}}
torch.save(state, os.path.join(here, "zip.pth"))
torch.save(state, os.path.join(here, "legacy.pth"), _use_new_zipfile_serialization=False)
torch.save(nested, os.path.join(here, "nested.pth"))
torch.save(nested, os.path.join(here, "nested_legacy.pth"), _use_new_zipfile_serialization=False)
torch.save(state, os.path.join(here, "protocol4.pth"), pickle_protocol=4)
torch.save({"epoch": 1, "model_state": {"a.weight": torch.ones(2)}, "cfg": "x"}, os.path.join(here, "model_state.pth"))
torch.save(torch.nn.Linear(2, 2), os.path.join(here, "module.pth"))


# ---- TorchScript: a tree of modules beside its code, which is compressed ----
class Layer(torch.nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(2.0 * n).view(2, n) / 4)
        self.register_buffer("mean", torch.full((n,), 0.5, dtype=torch.float16))
        self.scale = 3  # attributes that are no tensors
        self.name = "a layer"

    def forward(self, x):
        return x @ self.weight.t() * self.scale + self.mean.sum().float() - self.mean.float().mean() * len(self.name)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(Layer(3), Layer(2))
        self.twin = self.layers[1]  # stands at two places
        self.bias = torch.nn.Parameter(torch.tensor([1.0, 2.0]))

    def forward(self, x):
        return self.layers(x) + self.twin(self.bias)


torch.jit.save(torch.jit.script(Net()), os.path.join(here, "script.pth"))


def hostile(name, pickle, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(os.path.join(here, name + ".pth"), "w") as z:
        for file, data in (("data.pkl", pickle), ("constants.pkl", b"\x80\x02).")):
            z.writestr(zipfile.ZipInfo("x/" + file), data, method if file == "data.pkl" else zipfile.ZIP_STORED)


module = b"c__torch__\nM\n)\x81"
hostile("script_circle", b"\x80\x02" + module + b"q\x00}(U\x01ah\x00ub.")  # a module in itself
# 2^30 modules in two bytes each
hostile("script_tower", b"\x80\x02" + module + b"q\x00" + b"".join(module + b"}(U\x01ah%cU\x01bh%cubq%c" % (i, i, i + 1) for i in range(30)) + b".")
hostile("script_packed", b"\x80\x02" + module + b"." + bytes(300), zipfile.ZIP_DEFLATED)
