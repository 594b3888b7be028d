#!/usr/bin/env python3
"""Writes augment.safetensors: Pillow's image operations at given strengths on a picture that test_learning.c makes by the same
formula. venv/bin/python tests/golden/make_golden_augment.py (pillow, numpy)"""
import json
import os
import struct

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from formula import value

S = 24


ramp = np.arange(S * S * 3).reshape(S, S, 3) // 3 % S * 4  # not flat, and within 30..220
picture = Image.fromarray((40 + ramp + np.floor((value(3, S * S * 3).reshape(S, S, 3) + 1) * 40)).astype(np.uint8))
done = {"autocontrast": ImageOps.autocontrast(picture), "equalize": ImageOps.equalize(picture), "posterize": ImageOps.posterize(picture, 4),
        "solarize": ImageOps.solarize(picture, 100), "brightness": ImageEnhance.Brightness(picture).enhance(1.7),
        "color": ImageEnhance.Color(picture).enhance(0.3), "contrast": ImageEnhance.Contrast(picture).enhance(1.6),
        "sharpness": ImageEnhance.Sharpness(picture).enhance(1.8)}
header, data = {}, b""
for name, image in done.items():
    out = np.asarray(image).astype("<f4").tobytes()
    header[name] = {"dtype": "F32", "shape": [S, S, 3], "data_offsets": [len(data), len(data) + len(out)]}
    data += out
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "augment.safetensors"), "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + data)
