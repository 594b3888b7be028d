#!/usr/bin/env python3
"""Registers, stack and spills of every CUDA kernel, as ptxas reports them, for sm_80, sm_90 and sm_100.

    tests/cuda_registers.py            compares with results/cuda/registers.csv: a spill, or more registers, is a failure
    tests/cuda_registers.py --write    writes the table again (then say in the commit why it changed)
    ... [--write] FILE.cu...           of these files alone; the table's other rows stay as they are

Needs nvcc. With another nvcc than the one that wrote the table only spills are held against it."""
import csv, os, re, subprocess, sys
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TABLE = os.path.join(ROOT, "results/cuda/registers.csv")
ARCHS = ("sm_80", "sm_90", "sm_100")


def compile_one(job):
    file, arch = job
    r = subprocess.run(["nvcc", "-std=c++17", "-O3", "-arch=" + arch, "-cubin", "-o", os.devnull, "-Xptxas", "-v", "-Werror", "all-warnings",
                        "-Xcompiler", "-Wno-unknown-pragmas", "-I" + ROOT, file], capture_output=True, text=True)
    if r.returncode:
        sys.exit(r.stderr)
    rows, name, spill = [], None, (0, 0)
    for line in r.stderr.splitlines():
        if m := re.search(r"Compiling entry function '(\w+)'", line):
            name = m.group(1)
        elif m := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores", line):
            spill = (int(m.group(1)), int(m.group(2)))
        elif (m := re.search(r"Used (\d+) registers", line)) and name:
            shared = re.search(r"(\d+) bytes smem", line)
            rows.append([os.path.basename(file), name, arch, int(m.group(1)), spill[0], spill[1], int(shared.group(1)) if shared else 0])
            name = None
    return rows


def readable(names):
    text = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True).stdout.splitlines()
    short = lambda s: re.sub(r"\(.*", "", re.sub(r"^void ", "", s)).replace("(anonymous namespace)::", "")
    return dict(zip(names, map(short, text)))


def main():
    folder = os.path.join(ROOT, "kernels/cuda")
    only = [os.path.basename(a) for a in sys.argv[1:] if a != "--write"]
    files = sorted(os.path.join(folder, f) for f in os.listdir(folder) if f.endswith(".cu") and (not only or f in only))
    if only and len(files) != len(only):
        sys.exit(f"kernels/cuda has not all of {only}")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = sum(pool.map(compile_one, [(f, a) for f in files for a in ARCHS]), [])
    names = readable(sorted({r[1] for r in rows}))
    rows = sorted([r[0], names[r[1]]] + r[2:] for r in rows)
    version = re.search(r"V([\d.]+)", subprocess.run(["nvcc", "--version"], capture_output=True, text=True).stdout).group(1)
    table = list(csv.reader(open(TABLE))) if os.path.exists(TABLE) else [[]]
    if only and table[0][7:] != ["nvcc " + version]:
        sys.exit(f"the table is of {table[0][7:]}, this is nvcc {version}: all files, or none")
    if "--write" in sys.argv:
        rows = sorted(rows + [r[:3] + list(map(int, r[3:])) for r in table[1:] if only and r[0] not in only])
        with open(TABLE, "w") as f:
            out = csv.writer(f, lineterminator="\n")
            out.writerow(["file", "kernel", "arch", "registers", "stack", "spill_bytes", "shared_bytes", "nvcc " + version])
            out.writerows(rows)
        print(f"{len(rows)} kernels written to {TABLE}")
        return 0
    same_compiler = table[0][7] == "nvcc " + version
    known = {tuple(r[:3]): list(map(int, r[3:7])) for r in table[1:] if not only or r[0] in only}
    bad = []
    for r in rows:
        k = known.pop(tuple(r[:3]), None)
        if k is None:
            bad.append(f"{r[:3]} is not in the table")
        elif r[5] > k[2] or (same_compiler and (r[3] > k[0] or r[4] > k[1])):
            bad.append(f"{r[:3]}: {r[3]} registers, {r[4]} bytes of stack, {r[5]} spilled; the table has {k}")
    bad += [f"{k} is gone" for k in known]
    print("\n".join(bad) or f"{len(rows)} kernels as in the table")
    return bool(bad)


sys.exit(main())
