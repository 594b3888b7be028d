# Distances between two sets of clips through the program: stores, videos, folders of frames, stored features; presets; what is wrong.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
export XDG_CACHE_HOME=$T/cache

works "$F" phantom -o real.h5 --videos 14 --size 32 --frames 8 --mp4 videos
works "$F" phantom -o fake.h5 --videos 10 --size 32 --frames 8 --seed 4
works "$F" init x3d-tiny -o net.safetensors
net="--model x3d-tiny --weights net.safetensors"
works "$F" metrics --real real.h5 --fake fake.h5 $net --csv m.csv --halves 3 --infinity
grep -q "x3d-tiny, 64 numbers: 8 frames, stride 1, all clips of a video, 32 bicubic" out || die "what was looked at is not said: $(cat out)"
grep -q "^FD .*14/10.*infinity" out || die "no Frechet distance: $(cat out)"
grep -q "^FD (x3d-tiny): 10 rows for 64 numbers" out || die "few rows are not said: $(cat out)"
[ "$(ls cache/forty/features | wc -l)" = 2 ] || die "features are not kept"
cp out first
works "$F" metrics --real real.h5 --fake fake.h5 $net --halves 3 --infinity # from what was kept
cmp out first || die "kept features give other numbers"
for f in cache/forty/features/*; do echo >"$f"; done
works "$F" metrics --real real.h5 --fake fake.h5 $net --halves 3 --infinity
cmp out first || die "damaged features are not made anew"
works "$F" metrics --real real.h5 --fake fake.h5 $net --json --no-cache --class polyp
works "$F" features real.h5 $net --precision f32 -o real.safetensors
works "$F" features fake.h5 $net --precision f32 -o fake.safetensors
works "$F" metrics --real real.safetensors --fake fake.safetensors --json --halves 3
python3 - <<'P'
import csv, json
row = {r["metric"]: r for r in csv.DictReader(open("m.csv"))}
now = {v["metric"]: v for v in json.load(open("out"))["values"]}
assert set(row) == set(now) == {"FD", "mmd", "jedi", "precision", "recall", "density", "coverage"}, row
for name, v in now.items():  # the same network through `forty features`, to f32
    assert abs(float(row[name]["value"]) - v["value"]) < 1e-3 * max(abs(v["value"]), 1), (name, row[name], v)
    assert v["floor_low"] <= v["floor"] <= v["floor_high"] and v["n_real"] == 14 and v["n_fake"] == 10 and v["d"] == 64, v
    assert (v["ci_low"] is None) == (name in ("FD", "jedi")) and (v["ddof"] == 1) == (name == "FD"), v
assert row["FD"]["infinity"] and not row["mmd"]["infinity"] and int(row["FD"]["same"]) == 7
P

# the frames of the videos, at the size of a preset, and another network behind it
works "$F" metrics --real videos --fake fake.h5 --as styleganv $net --size 32 --frames 8 --halves 0
grep -q "8 frames, stride 1, 1 clip of a video, real ones anywhere, 32 torch" out || die "the preset's clips: $(cat out)"
grep -q "single frames, 32 tf1" out || die "the preset's pictures: $(cat out)"
grep -q FVD out && die "distances in another network are called FVD"
works "$F" init clip-tiny -o clip.safetensors # frames' embeddings, beside how much moves
works "$F" metrics --real real.h5 --fake fake.h5 --as medsora --model clip-tiny --weights clip.safetensors --size 32 --frames 8 --halves 0
grep -qE "^FC +[0-9.]+ \\[" out && grep -q "^FC (clip-tiny): a frozen clip has 100.* motion " out || die "no frame consistency: $(cat out)"
works "$F" metrics --real real.h5 --fake fake.h5 --model clip-tiny --weights clip.safetensors --halves 0
grep -q "clip-tiny, 48 numbers: 8 frames.*, 32 bicubic, 4 frames of a clip looked at" out || die "a network of pictures gives mean and deviation over frames: $(cat out)"
python3 - <<'P'
import os, struct, zlib
def png(path, grey):  # 24 x 24, filter 0
    raw = b"".join(b"\0" + bytes([(grey * (x + y + 1)) % 256 for x in range(24) for _ in "rgb"]) for y in range(24))
    part = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", 24, 24, 8, 2, 0, 0, 0)) + part(b"IDAT", zlib.compress(raw)) + part(b"IEND", b""))
for v in range(5):
    os.makedirs(f"frames/v{v}")
    for f in range(9 if v else 3): png(f"frames/v{v}/{f:06d}.png", 3 * v + f)
os.makedirs("pictures")
for i in range(6): png(f"pictures/{i}.png", i + 2)
def npy(path, rows, width, bad=None):
    head = str({"descr": "<f4", "fortran_order": False, "shape": (rows, width)})
    head += " " * (63 - (len(head) + 10) % 64) + "\n"
    numbers = [((i * 37) % 101) / 10 for i in range(rows * width)]
    if bad is not None: numbers[bad] = float("nan")
    open(path, "wb").write(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + struct.pack(f"<{rows * width}f", *numbers))
npy("a.npy", 9, 5), npy("b.npy", 9, 6), npy("nan.npy", 9, 5, 13), npy("one.npy", 1, 5), npy("c.npy", 20, 5)
os.makedirs("empty"), os.makedirs("texts")
open("texts/read.txt", "w").write("nothing")
P
works "$F" metrics --real frames --fake frames $net --size 32 --frames 8 --halves 0
grep -q "^FD .*4/4" out || die "a short video is taken: $(cat out)"
grep -q "1 videos are shorter" err || die "a short video is left out without a word: $(cat err)"
works "$F" metrics --real frames --fake pictures --as pytorch-fid $net --size 32 --halves 0
grep -q "^FD .*39/6" out || die "folders of frames and of pictures: $(cat out)"
works "$F" metrics --real c.npy --fake c.npy --logits
grep -q "^IS (stored): .*Published scores are of 50000" out || die "no inception score: $(cat out)"

fails 2 "--real A" -- "$F" metrics --fake fake.h5
fails 2 "which network" -- "$F" metrics --real real.h5 --fake fake.h5
fails 2 "--weights FILE is missing" -- "$F" metrics --real real.h5 --fake fake.h5 --model x3d-tiny
fails 2 "styleganv, cdfvd, pytorch-fid, clean-fid, endora, medsora, feat" -- "$F" metrics --real real.h5 --fake fake.h5 --as fvd
fails 2 "weights are missing" -- "$F" metrics --real real.h5 --fake fake.h5 --as endora
fails 2 "holds features and" -- "$F" metrics --real a.npy --fake fake.h5 $net
fails 2 "for clips" -- "$F" metrics --real a.npy --fake a.npy $net
fails 2 "--resize is near" -- "$F" metrics --real real.h5 --fake fake.h5 $net --resize near
fails 1 "holds no clips of the class cyst" "normal" "polyp" -- "$F" metrics --real real.h5 --fake fake.h5 $net --class cyst
fails 1 "features of 6 numbers" "have 5" "two networks" -- "$F" metrics --real a.npy --fake b.npy
fails 1 "nan.npy: number 3 of row 2 is not finite" -- "$F" metrics --real a.npy --fake nan.npy
fails 1 "two videos" -- "$F" metrics --real a.npy --fake one.npy
fails 1 "empty: no videos" -- "$F" metrics --real empty --fake fake.h5 $net
fails 1 "texts: no videos" -- "$F" metrics --real texts --fake fake.h5 $net
fails 1 "is not there" -- "$F" metrics --real gone --fake fake.h5 $net
fails 1 "at stride 5" -- "$F" metrics --real frames --fake fake.h5 $net --frames 8 --stride-real 5
fails 1 "--force" -- "$F" metrics --real real.h5 --fake fake.h5 $net --csv m.csv
done_testing
