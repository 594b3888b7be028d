"""The plan of the house, held against its sources: house.py ROOT. Floors, circles, names, files that texts name, long functions,
pairs of names."""
import collections, os, re, sys

root = sys.argv[1]
FLOORS = [  # a file includes what lies on its own floor and below
    ["common/base"],
    ["kernels", "kernels/cpu", "kernels/cuda"],
    ["common/graph", "common/mpi"],
    ["common/io"],
    ["common/train", "common/vision"],
    ["gen"],
    ["classify"],
    ["experiments/data", "experiments/models"],
    ["experiments/statistics"],
    ["experiments/stages"],
    ["experiments/arms"],
    ["experiments/report"],
    ["experiments/sweep"],
    ["experiments/cli"],
]
LONGEST = 80  # lines of a function; tables are data
TOP = ["common", "kernels", "gen", "classify", "experiments", "tests", "docs", "examples", "results"]
wrong = []


def text(path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as f:
        return f.read()


files = [f for f in sorted(os.listdir(root)) if os.path.isfile(os.path.join(root, f))]
for top in TOP:
    for folder, _, names in os.walk(os.path.join(root, top)):
        files += [os.path.relpath(os.path.join(folder, n), root) for n in names]
floor = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
HOUSE = ("common/", "kernels/", "gen/", "classify/", "experiments/")
sources = [f for f in files if f.endswith((".c", ".h", ".cu", ".cuh")) and f.startswith(HOUSE) and os.path.dirname(f) != "common/forty"]
wrong += [f"{f} stands on no floor" for f in sources if os.path.dirname(f) not in floor]
sources = [f for f in sources if os.path.dirname(f) in floor]

# ---- floors and circles
includes = {}
for f in sources:
    room = os.path.dirname(f)
    includes[f] = []
    for name in re.findall(r'^\s*#\s*include "([^"]+)"', text(f), re.M):
        to = next((t for t in (name, os.path.join(room, name)) if t in sources), None)
        if not to:
            wrong.append(f"{f} includes {name}, which is not in the house")
            continue
        includes[f].append(to)
        if floor[os.path.dirname(to)] > floor[room]:
            wrong.append(f"{f} includes {to}, which lies above it")
seen = {}


def visit(f, way):
    if f in way:
        wrong.append("a circle: " + " -> ".join(way[way.index(f):] + [f]))
    elif f not in seen:
        seen[f] = True
        for to in includes[f]:
            visit(to, way + [f])


for f in sources:
    visit(f, [])

# ---- a file's name is unique
at = collections.defaultdict(list)
for f in sources:
    at[os.path.basename(f)].append(f)
TWINS = {"kernels", "kernels/cpu", "kernels/cuda"}  # an op's kernels, and what they share, have one name
wrong += [f"one name for several files: {', '.join(v)}" for v in at.values() if len(v) > 1 and not {os.path.dirname(f) for f in v} <= TWINS]

# ---- files that comments and pages name are there (CONTRIBUTING.md names those that its reader makes)
known = set(files) | {os.path.basename(f) for f in files}
NAMED = re.compile(r"(?<![\w/.*<{$-])((?:[\w-]+/)*[\w-]+\.(?:c|h|cu|cuh|sh|py|md))\b(?![\w*(])")
for f in files:
    if f.startswith("results/") or f == "CONTRIBUTING.md" or not f.endswith((".c", ".h", ".cu", ".cuh", ".md", ".sh", ".py", "CMakeLists.txt")):
        continue
    body = text(f)
    if f.endswith((".c", ".h", ".cu", ".cuh")):
        parts = [(m.start(), m[0]) for m in re.finditer(r"/\*.*?\*/|//[^\n]*", body, re.S)]
    else:
        parts = [(0, body)] if f.endswith(".md") else [(m.start(), m[0]) for m in re.finditer(r"^[ \t]*# [^\n]*", body, re.M)]
    for start, part in parts:
        for m in NAMED.finditer(part):
            name = m[1]
            if "NAME" in name or name in known or os.path.join(os.path.dirname(f), name) in known or any(k.endswith("/" + name) for k in known):
                continue
            wrong.append(f"{f}:{body.count(chr(10), 0, start + m.start()) + 1} names {name}, which is not there")

# ---- random numbers come from streams that have a row and a name (common/base/streams.h)
BARE = re.compile(r"\bft_(?:(?:rng_make|philox|shuffled)\([^,;]+,[^,;A-Za-z]*(?:\(uint32_t\))?[^,;A-Za-z]*\d|graph_new\([^;]*,\s*\d)")
for f in sources:
    body = text(f)
    wrong += [f"{f}:{body.count(chr(10), 0, m.start()) + 1} draws from a stream without a name" for m in BARE.finditer(re.sub(r"/\*.*?\*/", lambda c: re.sub(r"[^\n]", " ", c[0]), body, flags=re.S))]

# ---- functions; a CUDA kernel is one, with its registers and barriers
for f in sources:
    if f.endswith(".cu"):
        continue
    body = text(f)
    for m in re.finditer(r"^(?!typedef|struct|enum|union|static const|const|#)[A-Za-z_][^;={}\n]*\([^;{}]*\)\s*\n?\{\n(.*?)^\}", body, re.M | re.S):
        lines = m[0].count("\n") + 1
        if lines > LONGEST:
            wrong.append(f"{f}:{body.count(chr(10), 0, m.start()) + 1} has a function of {lines} lines")

# ---- names: of a function's variables none is another's in the other case (n beside N); macros and types aside
TOKENS = re.compile(r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|(?:->|\.)\s*\w+|([A-Za-z_]\w*)""", re.S)
for f in sources:
    if not f.endswith((".c", ".h")):
        continue
    body = text(f)
    for m in re.finditer(r"^(?!typedef|struct|enum|union|#)[A-Za-z_][^;={}\n]*\([^;{}]*\)\s*\n?\{\n(.*?)^\}", body, re.M | re.S):
        letters = {t[1] for t in TOKENS.finditer(m[0]) if t[1] and len(t[1]) == 1}
        pairs = sorted(x + "/" + x.upper() for x in letters if x.islower() and x.upper() in letters)
        if pairs:
            wrong.append(f"{f}:{body.count(chr(10), 0, m.start()) + 1} has names that differ by their case: {', '.join(pairs)}")

print("\n".join(wrong))
print(f"{len(sources)} files, {len(wrong)} faults", file=sys.stderr)
sys.exit(1 if wrong else 0)
