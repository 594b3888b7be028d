#!/usr/bin/env python3
"""Do the tests of the ops notice a wrong kernel? Each mutant changes one sign, constant or comparison in one line.

    tests/mutants.py run [-j N] [--only FILE] [--ids 3,5]   applies every row of mutants.tsv in a copy of the tree, builds, tests
    tests/mutants.py draw N                                 draws a new list of N mutants over all kernels and gradient rules
    tests/mutants.py draw N FILE                            draws N new rows for a file that changed, in place of its old ones
    tests/mutants.py draw 999 kernels/cuda/                 draws new rows for the files of a folder
    tests/mutants.py mend                                   draws a row for each one whose line is gone, or that is there twice

A mutant is killed if test_ops or test_graph fails (or crashes, or hangs), on the stand-in for CUDA if it is in a kernel there. A
row may say why its mutant computes the same; such rows are not counted. Nor are those that "need bf16" where the processor has
none. The run fails below 95 % killed. ./test.sh --full runs it."""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
LIST = os.path.join(HERE, "mutants.tsv")
SKIP = re.compile(r"^\s*(/?\*|//|#|enum|typedef|static .*;$|.*(_floats|_bytes|work_size|thread_id|FT_SMALL|FT_ASSERT|FT_FAIL|FT_TRY|"
                  r"scratch|pad16|return q \*|uint32_t \*|uint16_t \*|sizeof|NEED|DNNL|ft__fail|const float \*|float \*|malloc|restrict))")


def changes(line):
    """(column, length, new text) of every possible change"""
    for m in re.finditer(r" ([-+]) ", line):
        yield m.start(), 3, " - " if m[1] == "+" else " + "
    for m in re.finditer(r" ([-+])= ", line):
        yield m.start(), 4, " -= " if m[1] == "+" else " += "
    for m in re.finditer(r" \+= ", line):
        yield m.start(), 4, " = "
    for m in re.finditer(r" (<|>|<=|>=) ", line):
        yield m.start(), len(m[0]), {"<": " > ", ">": " < ", "<=": " > ", ">=": " < "}[m[1]]
    for m in re.finditer(r"\b(\d+\.\d+)f\b", line):
        yield m.start(), len(m[0]), f"{float(m[1]) * 1.25 + (0.25 if float(m[1]) == 0 else 0):.9g}".replace("e", "E") + ("f" if "." in f"{float(m[1]) * 1.25 + (0.25 if float(m[1]) == 0 else 0):.9g}" else ".0f")
    for m in re.finditer(r" \* ", line):
        yield m.start(), 3, " + "


def sources():
    folder = os.path.join(ROOT, "kernels", "cpu")
    for f in sorted(os.listdir(folder)):
        if f.endswith((".c", ".h")) and f not in ("cpu_select.c", "cpu_table.c", "cpu.h"):
            yield "kernels/cpu/" + f
    folder = os.path.join(ROOT, "kernels", "cuda")
    yield from ("kernels/cuda/" + f for f in sorted(os.listdir(folder)) if f.endswith((".cu", ".cuh")))
    yield from ("kernels/augment.h", "kernels/elem.h", "common/graph/op_grad.c", "common/graph/backward.c", "common/graph/op_build.c", "common/graph/queues.c")


def processor_has(*flags):
    have = set(re.findall(r"\w+", open("/proc/cpuinfo").read()))
    return all(f in have for f in flags)


def isa(): # the highest of ours that runs here, as in test.sh
    if processor_has("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"):
        return "v4"
    return "v3" if processor_has("avx2", "fma", "bmi1", "bmi2") else "base"


def possible(path):
    """all mutants of a file, in an order that looks random"""
    here = []
    for line in open(os.path.join(ROOT, path)).read().split("\n"):
        if SKIP.match(line) or "for (" in line and line.count(";") >= 2 and not line.rstrip().endswith(";"):
            continue
        for col, length, new in changes(line.split("/*")[0]):
            here.append((path, line, line[:col] + new + line[col + length :]))
    return sorted(here, key=lambda c: hashlib.sha256("\t".join(c).encode()).hexdigest())


def write(list_):
    with open(LIST, "w") as o:
        o.write("# file\tline\tchanged line\tsame result because\n")
        for path, line, new, why in sorted(list_):
            o.write(f"{path}\t{line}\t{new}\t{why}\n")


def mend():
    kept, lost = [], []
    for _, *row in rows():
        there = os.path.exists(os.path.join(ROOT, row[0])) and f"\n{row[1]}\n" in open(os.path.join(ROOT, row[0])).read()
        (kept if there and row not in kept else lost).append(row)
    known, new = {tuple(r[:3]) for r in kept}, []
    for path in sorted({r[0] for r in lost}):
        fresh = [list(m) + [""] for m in dict.fromkeys(possible(path)) if m not in known] if os.path.exists(os.path.join(ROOT, path)) else []
        new += fresh[: sum(r[0] == path for r in lost)]
    write(kept + new)
    at = {tuple(r[1:4]): r[0] for r in rows()}
    print(f"{len(lost)} rows gone, {len(new)} drawn: --ids " + ",".join(str(at[tuple(r[:3])]) for r in new))


def draw(n, only=""):
    every, kept = [], []
    if only:
        kept = [(path, line, new, why) for _, path, line, new, why in rows() if only not in path]
    for path in sources():
        if only not in path:
            continue
        here = possible(path)
        share = n if path == only else 16 if path.endswith("elem.h") else 4 if ".cu" in path else max(6, len(here) // 9)
        every += here[:share]
    every.sort(key=lambda c: hashlib.sha256("\t".join(c).encode()).hexdigest())
    write(kept + [(*e, "") for e in every[:n]])
    print(f"{min(n, len(every))} of {len(every)} possible")


def rows():
    out = []
    for k, line in enumerate(open(LIST).read().split("\n")):
        if line and not line.startswith("#"):
            out.append([k + 1] + (line + "\t").split("\t")[:4])
    return out


def targets(path):
    if path.endswith("state.cu"):
        return ["tests/test_ssl_shim"]
    if path.endswith("queues.c"):
        return ["tests/shim_streams_shim"]
    return ["tests/test_ops_shim", "tests/test_graph_shim"] if ".cu" in path else ["tests/test_ops", "tests/test_graph"]


def tree(place, paths):
    for part in ("CMakeLists.txt", "CMakePresets.json", "common", "kernels", "gen", "classify", "experiments", "docs", "tests"):
        s = os.path.join(ROOT, part)
        (shutil.copytree if os.path.isdir(s) else shutil.copy)(s, os.path.join(place, part))
    flags = ["-DCMAKE_BUILD_TYPE=Release", "-DFT_KERNEL_OPT=-O1", f"-DFT_ISAS={isa()}"]
    subprocess.run(["cmake", "-G", "Ninja", "-B", "build", *flags], cwd=place, check=True, capture_output=True)
    for path in {".cu" in p: p for p in paths}.values():
        subprocess.run(["ninja", "-C", "build", *targets(path)], cwd=place, check=True, capture_output=True)
        if verdict(place, path):  # else every mutant would be "killed"
            sys.exit("the tests fail without any mutant")


FIRST = {  # the cases that a file's mutants most likely fail
    "attention.c": "sdpa", "attention_channel.c": "attention_channel", "attention_local.c": "attention_local", "ssd.c": "ssd", "wkv.c": "wkv",
    "attention_short.c": "sdpa", "ssd_chunk.c": "ssd", "ssd_chunk.h": "ssd", "ssd_carry.c": "ssd_long ssd_state", "combine.c": "combine", "tensor.h": "ssd sdpa attention_channel",
    "gemm.h": "sdpa ssd attention_channel", "gemm_bf16.h": "sdpa", "norm.c": "layernorm rms gate", "conv_dw.c": "dw_", "vision.c": "grid corr",
    "norm_channel.c": "group spatial instance batch", "fourier.c": "focal", "softmax.c": "softmax l2", "pool.c": "pool upsample",
    "loss.c": "mse l1 huber bce hinge softmax_xent xent pseudo gauss vlb pearson", "shape.c": "permute concat slice pad roll resize",
    "augment.c": "augment", "augment.h": "augment", "convolution.c": "conv", "linear.c": "linear", "conv_causal.c": "causal",
    "elementwise.c": "relu silu gelu tanh add mul affine", "reduce.c": "reduce sum mean", "state.c": "assign",
    "random.h": "dropout randn uniform drop_path q_sample attention_local_dropout", "onednn.c": "conv linear matmul",
}


def verdict(place, path=""):
    """the test that fails, or nothing"""
    first = FIRST.get(os.path.basename(path).replace(".cuh", ".h").replace(".cu", ".c"), "")
    env = dict(os.environ, FT_FAIL_FAST="1", GOMP_SPINCOUNT="1000", OMP_NUM_THREADS="1", FT_FIRST=first)
    tests = targets(path)
    for test in tests[::-1] if path.startswith("common") or "/update.c" in path else tests:
        try:
            if subprocess.run([f"build/{test}"], cwd=place, capture_output=True, env=env, timeout=300).returncode:
                return os.path.basename(test)
        except subprocess.TimeoutExpired:
            return test + " (hangs)"
    return ""


def killed(place, mutant):
    _, path, line, new, _ = mutant
    file = os.path.join(place, path)
    text = open(file).read()
    if "\n" + line + "\n" not in text:
        return "gone"
    open(file, "w").write(text.replace("\n" + line + "\n", "\n" + new + "\n", 1))
    try:
        b = subprocess.run(["ninja", "-C", "build", *targets(path)], cwd=place, capture_output=True)
        if b.returncode:
            return "does not compile"
        return verdict(place, path)
    finally:
        open(file, "w").write(text)


def run(args):
    jobs = int(args[args.index("-j") + 1]) if "-j" in args else os.cpu_count()
    only = args[args.index("--only") + 1] if "--only" in args else ""
    ids = set(map(int, args[args.index("--ids") + 1].split(","))) if "--ids" in args else None
    asked = [r for r in rows() if only in r[1] and (ids is None or r[0] in ids)]
    lacking = [] if processor_has("avx512_bf16") else [r for r in asked if r[4] == "needs bf16"]
    todo = [r for r in asked if r not in lacking and r[4] in ("", "needs bf16")]
    same = len(asked) - len(todo) - len(lacking)
    total, survivors, lock, waiting = len(todo), [], threading.Lock(), list(reversed(todo))
    counts = {}

    def worker():
        with tempfile.TemporaryDirectory() as place:
            tree(place, [r[1] for r in todo])
            while True:
                with lock:
                    if not waiting:
                        return
                    mutant = waiting.pop()
                how = killed(place, mutant)
                with lock:
                    counts[how] = counts.get(how, 0) + 1
                    if not how:
                        survivors.append(mutant)
                        print(f"survived: line {mutant[0]}, {mutant[1]}\n  - {mutant[2].strip()}\n  + {mutant[3].strip()}", flush=True)
                    elif how == "gone":
                        print(f"line {mutant[0]}: {mutant[1]} has no such line any more: {mutant[2].strip()}", flush=True)
                    done = sum(counts.values())
                    if done % 20 == 0:
                        print(f"{done} of {total}, {len(survivors)} survived", file=sys.stderr, flush=True)

    threads = [threading.Thread(target=worker) for _ in range(jobs)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    tried = sum(counts.values())
    valid = tried - counts.get("gone", 0) - counts.get("does not compile", 0)
    rate = 100 * (valid - len(survivors)) / max(valid, 1)
    if tried < total:
        print(f"{total - tried} of {total} were not tried")
    print(f"{valid - len(survivors)} of {valid} mutants killed ({rate:.1f} %); {same} compute the same, {len(lacking)} need bf16; by {counts}")
    return 0 if tried == total and rate >= 95 and (only or ids or valid >= 300) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["draw"]:
        draw(int(sys.argv[2]), *sys.argv[3:4])
    elif sys.argv[1:2] == ["mend"]:
        mend()
    elif sys.argv[1:2] == ["run"]:
        sys.exit(run(sys.argv[2:]))
    else:
        sys.exit(__doc__)
