#!/usr/bin/env python3
"""Every C file through clang's warnings, as errors: the commands of a configured build, to the end of the analysis and no further.

    tests/clang_warnings.py build/clang"""
import concurrent.futures
import json
import os
import shlex
import subprocess
import sys

entries = json.load(open(os.path.join(sys.argv[1], "compile_commands.json")))


def check(entry):
    command = shlex.split(entry["command"]) if "command" in entry else entry["arguments"]
    command = [a for i, a in enumerate(command) if a != "-o" and (i == 0 or command[i - 1] != "-o")]
    return subprocess.run(command + ["-fsyntax-only"], cwd=entry["directory"], capture_output=True, text=True)


with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    done = list(pool.map(check, entries))
for run in done:
    if run.returncode:
        print(run.stderr, file=sys.stderr)
assert entries, "no commands"
print(f"clang: {sum(r.returncode == 0 for r in done)} passed, {sum(r.returncode != 0 for r in done)} failed")
sys.exit(any(r.returncode for r in done))
