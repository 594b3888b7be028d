#!/usr/bin/env python3
"""Small videos and what FFmpeg's own program makes of their frames, for tests/test_video.c.

    python3 tests/golden/make_golden_video.py        needs ffmpeg (made with 5.1.9); writes tests/golden/video/

Each row of CASES makes NAME (a lossless file of testsrc2 with the tags of the row), and NAME.rgb: its middle square of 16 x 16 pixels,
frame by frame. golden.inc lists them."""
import os
import subprocess

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "video")
SIZE = 16
FFMPEG = ["ffmpeg", "-v", "error", "-y", "-bitexact"]


def run(*args):
    return subprocess.run([*FFMPEG, *args[:-1], "-fflags", "+bitexact", args[-1]], check=True, stdout=subprocess.PIPE).stdout


# name, size, pixel format, codec, filters before it, options behind it
TAGS = "-colorspace {0} -color_range {1}"
CASES = [
    ("untagged.mkv", (40, 24), "yuv420p", "ffv1", "", ""),
    ("bt601.mkv", (40, 24), "yuv420p", "ffv1", "", TAGS.format("smpte170m", "tv")),
    ("bt709.mkv", (40, 24), "yuv420p", "ffv1", "", TAGS.format("bt709", "tv")),
    ("bt709-full.mkv", (40, 24), "yuv444p", "ffv1", "", TAGS.format("bt709", "pc")),
    ("bt601-full.mkv", (40, 24), "yuv422p", "ffv1", "", TAGS.format("bt470bg", "pc")),
    ("bt2020-10.mkv", (40, 24), "yuv420p10le", "ffv1", "", TAGS.format("bt2020nc", "tv")),
    ("bt709-12.mkv", (40, 24), "yuv422p12le", "ffv1", "", TAGS.format("bt709", "pc")),
    ("bt709-16.mkv", (40, 24), "yuv444p16le", "ffv1", "", TAGS.format("bt709", "tv")),
    ("grey-limited.mkv", (40, 24), "gray", "ffv1", "", "-color_range tv"),
    ("grey-full.mkv", (40, 24), "gray", "ffv1", "", "-color_range pc"),
    ("grey-16.mkv", (40, 24), "gray16le", "ffv1", "", ""),
    ("rgb.mkv", (40, 24), "gbrp", "ffv1", "", ""),
    ("rgb-16.mkv", (40, 24), "rgb48le", "ffv1", "", ""),
    ("jpeg.avi", (40, 24), "yuvj420p", "mjpeg", "", "-q:v 2"),
    ("wide-pixels.mkv", (36, 30), "yuv420p", "ffv1", "setsar=64/45", TAGS.format("bt709", "tv")),
    ("narrow-pixels.mkv", (40, 24), "yuv444p", "ffv1", "setsar=1/2", TAGS.format("bt709", "tv")),
    ("turned-90.mov", (40, 24), "yuv444p", "png", "format=rgb24", "-metadata:s:v rotate=90"),
    ("turned-180.mov", (24, 40), "rgb24", "png", "", "-metadata:s:v rotate=180"),
    ("turned-270-wide-pixels.mov", (40, 24), "rgb24", "png", "setsar=3/2", "-metadata:s:v rotate=270"),
]
# of files above: upright x,y,w,h
CROPS = [("bt709.mkv", (8, 4, 24, 18)), ("turned-90.mov", (2, 6, 20, 30)), ("rgb.mkv", (5, 3, 21, 17)),
         ("wide-pixels.mkv", (4, 2, 20, 20)), ("bt2020-10.mkv", (12, 0, 16, 24)), ("grey-16.mkv", (1, 1, 30, 20))]


def shape(size, aspect, turned):
    """Width and height as pixels are scaled before the square is cut: the short side SIZE, half pixels up."""
    w, h = size[0] * aspect[0], size[1] * aspect[1]
    w, h = (SIZE, (h * SIZE + w // 2) // w) if w < h else ((w * SIZE + h // 2) // h, SIZE)
    return (h, w) if turned else (w, h)


def golden(path, size, aspect, turn, crop=None):
    """FFmpeg turns a frame first. forty scales it as it is stored, so its frame is turned back for that, and again: the same
    conversion but for the rounding of the scaler, which is not the same from both ends."""
    turned = turn in (90, 270)
    there = {0: "", 90: "transpose=clock,", 180: "hflip,vflip,", 270: "transpose=cclock,"}
    if crop:
        size = (crop[3], crop[2]) if turned else crop[2:]
    w, h = shape(size, aspect, turned)
    cut = "crop={2}:{3}:{0}:{1}:exact=1,".format(*crop) if crop else ""
    end = f"crop={SIZE}:{SIZE}:{(w - SIZE) // 2}:{(h - SIZE) // 2}"
    flags = "flags=bilinear+accurate_rnd+bitexact+full_chroma_int,format=rgb24"
    def take(filters):
        return run("-i", path, "-vf", filters, "-f", "rawvideo", "-vsync", "0", "-")
    plain = take(f"{cut}scale={w}:{h}:{flags},{end}")
    if not turn:
        return plain
    stored = f"{h}:{w}" if turned else f"{w}:{h}"
    mine = take(f"{cut}{there[(360 - turn) % 360]}scale={stored}:{flags},{there[turn]}{end}")
    assert len(mine) == len(plain) and sum(abs(a - b) for a, b in zip(mine, plain)) / len(mine) < 1
    return mine


def main():
    rows, about = [], {}
    for name, size, pixels, codec, before, options in CASES:
        path = os.path.join(OUT, name)
        source = f"testsrc2=s={size[0]}x{size[1]}:r=10:d=0.2"
        pixels = "rgb24" if codec == "png" else pixels
        filters = ["-vf", before] if before else []
        if codec == "png":  # a rotation is noted when a stream is copied
            run("-f", "lavfi", "-i", source, *filters, "-pix_fmt", pixels, "-c:v", codec, path + ".mov")
            run("-i", path + ".mov", "-c", "copy", *options.split(), path)
            os.remove(path + ".mov")
        else:
            run("-f", "lavfi", "-i", source, *filters, "-pix_fmt", pixels, "-c:v", codec, *options.split(), path)
        aspect = {"wide-pixels.mkv": (64, 45), "narrow-pixels.mkv": (1, 2), "turned-270-wide-pixels.mov": (3, 2)}.get(name, (1, 1))
        about[name] = (size, aspect, int(name.split("-")[1].split(".")[0]) if name.startswith("turned") else 0)
        rows.append((name, "", golden(path, *about[name])))
    for name, crop in CROPS:
        rows.append((name, ",".join(map(str, crop)), golden(os.path.join(OUT, name), *about[name], crop)))
    # a lossless cut: frames are stored from the key frame on, an edit list shows those from the 20th
    whole = os.path.join(OUT, "whole.mp4")
    run("-f", "lavfi", "-i", "testsrc2=s=32x32:r=10:d=3", "-c:v", "libx264", "-g", "20", "-qp", "0", "-pix_fmt", "yuv420p", whole)
    run("-ss", "1.9", "-t", "1", "-i", whole, "-c", "copy", os.path.join(OUT, "trimmed.mp4"))
    os.remove(whole)
    rows.append(("trimmed.mp4", "", golden(os.path.join(OUT, "trimmed.mp4"), (32, 32), (1, 1), 0)))
    with open(os.path.join(OUT, "golden.inc"), "w") as f:
        f.write("/* Written by make_golden_video.py: file, crop, frames; its pixels are in FILE[-crop].rgb */\n")
        for name, crop, rgb in rows:
            f.write(f'{{"{name}", "{crop}", {len(rgb) // (SIZE * SIZE * 3)}}},\n')
            with open(os.path.join(OUT, name + ("-crop" if crop else "") + ".rgb"), "wb") as g:
                g.write(rgb)


main()
