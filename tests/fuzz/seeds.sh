#!/usr/bin/env bash
# First inputs for the fuzzers, made by the program itself: seeds.sh PROGRAM OUT. Files that PyTorch wrote and the committed corpus
# are taken along.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
F=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
forty() { "$F" "$@" >log 2>&1 || { cat log >&2; echo "seeds: forty $* failed" >&2; exit 1; }; }
for t in labels labels-folder frames checksums config run-json safetensors safetensors-header features npy pth-zip pth-legacy pickle \
  clipstore clipstore-channel video dicom; do mkdir -p "$out/$t"; done
cp -r "$here"/corpus/. "$out"/ 2>/dev/null || true

forty phantom -o p.h5 --videos 8 --size 16 --frames 4 --mp4 v
forty ingest --videos v --labels v/labels.csv -o few.h5 --size 16 --frames 1
forty ingest --videos v --labels v/labels.csv -o gzip.h5 --size 16 --frames 2 --compress gzip
cp p.h5 few.h5 gzip.h5 "$out/clipstore"
cp v/phantom-00000.mp4 "$out/video"
cp v/labels.csv "$out/labels"
for f in "$here"/../golden/dicom/*.dcm; do cp "$f" "$out/dicom/$(basename "$f" .dcm)"; done
printf 'video,label,group,split,device\n"a,b.mp4",x,g1,train,"one ""two"""\r\nb.mp4,y,g2,test,\n' >"$out/labels/columns"
printf '\xef\xbb\xbfname.mp4,1\nother.mp4,0\n' >"$out/labels/bom"
printf 'Split;FileName;Class;Patient ID\nTRAIN;a;1,0;p1\nTest;"b;c";1;p2\n' >"$out/labels/semicolons"
printf 'sep=\t\nvideo\tlabel\tfold\na\tPolyp\tfold_3\nb\tpolyp\t07\n' >"$out/labels/tabs"
printf '"a b.mp4" 1 \nc  0\n' >"$out/labels/spaces"
printf 'video,label\na\360\237\222\223,1\nb,0\n' | iconv -f utf-8 -t utf-16le | sed '1s/^/\xff\xfe/' >"$out/labels/utf16"
printf 'a.mp4,1\nb.mp4,0\n%%%%\nc.mp4,1\n%%%%\nd.mp4,0\n' >"$out/labels-folder/three"
printf 'video,start,end\na.mp4,0,5\n"b",3,900\ndir/c.mp4,39,40\nelse,0,1\n' >"$out/frames/list"
(cd v && sha256sum ./*.mp4) | sed -n 's,\./,,; 1,3p' >"$out/checksums/list" # head would end sha256sum by a signal


printf 'task: classifier\nseed: 3\nlabels: 4\ndata: {clips: p.h5}\nclassifier: {model: x3d-tiny, steps: 2, batch: 2}\nthreads: 1\n' >c.yaml
forty train c.yaml -o run
cp run/run.json "$out/run-json/classifier"
cp run/config.yaml "$out/config/resolved"
forty features p.h5 --model run -o features.safetensors
cp features.safetensors "$out/safetensors/features"
printf 'include: b.yaml\narms: [supervised, "clips: x.h5", {a: b}]\ndata: {map: {covid: ill, cold: ill}}\n%%%%\nseed: 4\n%%%%\nlabels=8\n%%%%\ndata.map=a: b,c: d\n' >"$out/config/include"
for f in "$here"/../../experiments/*.yaml; do cp "$f" "$out/config/$(basename "$f" .yaml)"; done
python3 - "$here/../golden" "$out" <<'P'
import glob, os, shutil, struct, sys, zipfile
golden, out = sys.argv[1:]
def put(target, name, data): open(os.path.join(out, target, name), "wb").write(data)
def header(target, name, data):
    n = struct.unpack("<Q", data[:8])[0]
    put(target, name, data[8 : 8 + n] + b"\n%%\n" + data[8 + n :])
for f in glob.glob(golden + "/*.safetensors"):
    data = open(f, "rb").read()
    if len(data) < 9000:
        put("safetensors", os.path.basename(f), data)
        header("safetensors-header", os.path.basename(f), data)
header("features", "forty", open("features.safetensors", "rb").read())
for f in glob.glob(golden + "/*.pth"):
    legacy = not zipfile.is_zipfile(f)
    shutil.copy(f, os.path.join(out, "pth-legacy" if legacy else "pth-zip"))
    if not legacy:
        z = zipfile.ZipFile(f)
        put("pickle", os.path.basename(f), z.read(next(n for n in z.namelist() if n.endswith("data.pkl"))))
put("video", "y4m", b"YUV4MPEG2 W16 H16 F8:1 Ip A1:1 C420jpeg\n" + (b"FRAME\n" + bytes(range(128)) * 3) * 3)
def npy(name, version, descr, shape, data, order="False"):
    h = "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }" % (descr, order, shape)
    put("npy", name, b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(h)) + h.encode() + data)
npy("frames", 1, "<i8", "(59,)", bytes(59 * 8))
npy("features", 1, "<f4", "(3, 4)", bytes(48))
npy("crops", 2, "<f2", "(3, 1, 4)", bytes(24))
npy("scalar", 3, "|b1", "()", b"\1")
npy("columns", 1, "<f8", "(2, 2)", bytes(32), "True")
P
