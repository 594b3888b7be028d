"""note.py FILE STAGE KEY VALUE...: puts values into a stage of the device suite's JSON; @FILE is a file's lines."""
import json, os, sys

path, stage, pairs = sys.argv[1], sys.argv[2], sys.argv[3:]
d = json.load(open(path)) if os.path.exists(path) else {}
for k, v in zip(pairs[::2], pairs[1::2]):
    d.setdefault(stage, {})[k] = open(v[1:]).read().splitlines() if v.startswith("@") else bool(int(v)) if k == "ok" else v
tmp = path + ".partial"
json.dump(d, open(tmp, "w"), indent=1)
os.replace(tmp, path)
