#!/usr/bin/env python3
"""What the costliest CUDA kernels compile to, against limits: no device is needed to see that a loop has grown tenfold.

    tests/cuda_sass.py            compiles for sm_80 and sm_90 and holds every rule below against the machine code
    tests/cuda_sass.py FILE RE    shows what there is to hold: of kernels in FILE.cu whose name matches

Needs nvcc and cuobjdump (in the PATH, beside nvcc, or named by CUOBJDUMP); without one of them it is skipped (77)."""
import collections, os, re, shutil, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ARCHS = ("sm_80", "sm_90")

# file, kernels (how many at least), rules of each:
#   per_term   instructions of the hottest loop for each multiply-add in it (packed and tensor-core ones count as what they do)
#   loop       instructions of that loop;  total: of the whole kernel
#   needs      instructions that must occur;  lacks: that must not
# No kernel named here may use local memory.
RULES = [
    ("conv_dw", r"depthwise_strips<bf16, 8, 3,", 4, dict(per_term=2.7, needs=["LDG.E.128", "LDS.128", "STG.E.128"])),
    ("conv_dw", r"depthwise_strips<bf16, 8, 5,", 2, dict(per_term=2.1, needs=["LDG.E.128", "LDS.128", "STG.E.128"])),
    ("conv_dw", r"depthwise_strips<float, 4,", 6, dict(per_term=3.6, needs=["LDG.E.128", "LDS.128", "STG.E.128"])),
    ("conv_dw", r"depthwise_strips<bf16, 4,", 6, dict(per_term=3.6, needs=["LDG.E.64", "LDS.128", "STG.E.64"])),
    ("conv_dw", r"depthwise_strips<\w+, 2,", 12, dict(per_term=5.6)),
    ("conv_dw", r"depthwise_weight_strips<bf16, 4, 3,", 2, dict(per_term=4.1, needs=["LDG.E.64"])),
    ("conv_dw", r"depthwise_weight_strips<float, 4, 3,", 2, dict(per_term=4.1, needs=["LDG.E.128"])),
    ("conv_dw", r"depthwise_weight_strips<\w+, 2, 3,", 4, dict(per_term=6.6)),
    ("attention_short", r"attend_short<64, 1, false>", 1, dict(total=1250, needs=["HMMA.16816", "LDSM.16.M88.4", "LDSM.16.MT88.4", "LDGSTS.E.BYPASS.128"])),
    ("attention_short", r"attend_short(_bwd)?<\d+, \d, false>", 32, dict(total=4600, needs=["HMMA.16816", "LDSM.16.M88.4", "LDGSTS.E.BYPASS.128"])),
    ("attention_short", r"attend_short(_bwd)?<\d+, \d, true>", 16, dict(total=6400, needs=["HMMA.16816", "LDSM.16.M88.4", "LDGSTS.E.BYPASS.128"])),
    ("attention_channel", r"channel_tiles<\d+>", 3, dict(total=2900, needs=["HMMA.16816", "LDSM.16.M88.4", "LDSM.16.MT88.4", "LDGSTS.E.BYPASS.128"])),
    ("attention_channel", r"channel_tiles_bwd<\d+>", 3, dict(total=5000, needs=["HMMA.16816", "LDSM.16.M88.4", "LDSM.16.MT88.4", "LDGSTS.E.BYPASS.128"])),
    ("ssd_chunk", r"ssd_chunk<3, 64, false>", 1, dict(loop=950, needs=["HMMA.16816", "LDSM.16.M88.4", "LDSM.16.MT88.4", "LDGSTS.E.BYPASS.128"])),
    ("ssd_chunk", r"ssd_chunk_bwd<3, 64, false>", 1, dict(loop=1800, needs=["HMMA.16816", "LDSM.16.M88.4", "LDSM.16.MT88.4", "LDGSTS.E.BYPASS.128"])),
    ("ssd_chunk", r"ssd_chunk(_bwd)?<\d, \d+, \w+>", 48, dict(needs=["HMMA.16816", "LDGSTS.E.BYPASS.128"])),
    ("ssd_carry", r"ssd_added<4, 64>", 1, dict(loop=310, needs=["HMMA.16816", "LDSM.16.MT88.4", "LDGSTS.E.BYPASS.128"])),
    ("ssd_carry", r"ssd_behind<4, 64>", 1, dict(loop=40, needs=["HMMA.16816", "LDSM.16.M88.4", "LDG.E.128"])),
    ("ssd_carry", r"ssd_carry<4, 64>", 1, dict(loop=900, needs=["HMMA.16816", "LDSM.16.M88.4", "LDG.E.64", "LDGSTS.E.BYPASS.128"])),
    ("ssd_carry", r"ssd_(added|behind|carry)<\d, \d+>", 36, dict(needs=["HMMA.16816"])),
    ("norm_channel", r"norm_apply<bf16, 8, [01], 0>", 2, dict(loop=110, needs=["LDG.E.128", "STG.E.128"], lacks=["MUFU.RCP64"])),
    ("norm_channel", r"norm_apply<bf16, 8, 2, 0>", 1, dict(loop=330, needs=["LDG.E.128", "STG.E.128"])),
    ("norm_channel", r"norm_(columns|dx)<bf16, 8, [01], 0>", 4, dict(loop=110, needs=["LDG.E.128"])),
    ("norm_channel", r"norm_(columns|dx)<bf16, 8, 2, 0>", 2, dict(loop=260, needs=["LDG.E.128"])),
]
TERMS = {"FFMA": 1, "HFMA2": 2, "HMMA.16816": 64, "HMMA.1688": 32}  # multiply-adds a lane


def tool():
    nvcc = shutil.which("nvcc")
    if not nvcc:
        return None
    beside = os.path.join(os.path.dirname(os.path.realpath(nvcc)), "cuobjdump")
    return os.environ.get("CUOBJDUMP") or shutil.which("cuobjdump") or (beside if os.path.exists(beside) else None)


def kernels(file, arch, dump):
    """name -> [(address, instruction)]"""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        subprocess.run(["nvcc", "-std=c++17", "-O3", "-arch=" + arch, "-cubin", "-o", cubin.name, "-Xcompiler", "-Wno-unknown-pragmas",
                        "-I" + ROOT, os.path.join(ROOT, "kernels/cuda", file + ".cu")], check=True)
        text = subprocess.run([dump, "-sass", cubin.name], check=True, capture_output=True, text=True).stdout
    found, name = collections.OrderedDict(), None
    for line in text.splitlines():
        if m := re.search(r"Function : (\S+)", line):
            name = found.setdefault(m.group(1), [])
        elif (m := re.match(r"\s+/\*([0-9a-f]{4,6})\*/\s+(.*?);", line)) and name is not None:
            name.append((int(m.group(1), 16), re.sub(r"^@!?U?P\w+\s+", "", m.group(2))))
    readable = subprocess.run(["c++filt"], input="\n".join(found), capture_output=True, text=True).stdout.splitlines()
    return {re.sub(r"\(.*|^void ", "", r): v for r, v in zip(readable, found.values())}


def terms(code):
    return sum(next((n for op, n in TERMS.items() if i.startswith(op)), 0) for _, i in code)


def hottest(code):
    """The innermost loop that holds most multiply-adds: from the target of a jump back to the jump"""
    loops = []
    for at, i in code:
        if (m := re.match(r"BRA\S* (?:\S+, )*`?\(?(?:0x([0-9a-f]+))", i)) and int(m.group(1), 16) < at:
            loops.append([c for c in code if int(m.group(1), 16) <= c[0] <= at])
    most = max(map(terms, loops), default=0)
    return min((l for l in loops if terms(l) > 0.6 * most), key=len, default=[])


def facts(code):
    loop = hottest(code)
    ops = collections.Counter(i.split()[0] for _, i in code)
    return dict(total=len(code), loop=len(loop), terms=terms(loop), per_term=len(loop) / terms(loop) if terms(loop) else float("inf"), ops=ops)


def show(f):
    memory = {k: v for k, v in f["ops"].items() if re.match(r"LD|ST|HMMA|MUFU|BAR|SHFL|CALL", k)}
    return f"{f['total']} instructions, loop {f['loop']}, {f['terms']} multiply-adds, {f['per_term']:.2f} each; {memory}"


def breaks(f, rules):
    if any(re.match(r"LDL|STL", op) for op in f["ops"]):
        yield "uses local memory"
    for k in ("per_term", "loop", "total"):
        if k in rules and not f[k] <= rules[k]:
            yield f"{k} is {f[k]:.2f}, at most {rules[k]} is allowed"
    for op in rules.get("needs", []):
        if not any(o.startswith(op) for o in f["ops"]):
            yield f"has no {op}"
    for op in rules.get("lacks", []):
        if any(o.startswith(op) for o in f["ops"]):
            yield f"has {op}"


def main():
    dump = tool()
    if not dump:
        print("skipped: no nvcc, or no cuobjdump")
        return 77
    if len(sys.argv) == 3:
        for arch in ARCHS:
            for name, code in kernels(sys.argv[1], arch, dump).items():
                if re.search(sys.argv[2], name):
                    print(arch, name, show(facts(code)))
        return 0
    bad, held = [], 0
    for file in sorted({r[0] for r in RULES}):
        for arch in ARCHS:
            found = {name: facts(code) for name, code in kernels(file, arch, dump).items()}
            for _, pattern, least, rules in (r for r in RULES if r[0] == file):
                names = [n for n in found if re.match(pattern, n)]
                if len(names) < least:
                    bad.append(f"{file} {arch}: {len(names)} kernels match {pattern}, there should be {least}")
                for n in names:
                    held += 1
                    bad += [f"{file} {arch} {n} {why}: {show(found[n])}" for why in breaks(found[n], rules)]
    print("\n".join(bad) or f"{held} kernels as they should be")
    return bool(bad)


sys.exit(main())
