#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""layers: which layer includes which, read from the #include lines under src/.

The list of layers is the one in meson.build, which links them in that order. A file includes from its own folder and from folders earlier in the list; a plugin never
includes another plugin. Prints a table (rows include columns; the number of include lines), then what breaks these rules. Exit status 1 if anything does.

Usage: tools/layers.py [--quiet]
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SRC = os.path.join(ROOT, "src")
# What plugins may include of their own folder: list.* is their register, not a plugin.
REGISTER = re.compile(r"^(list\.[ch]|plugin_list\.inc)$")


def layer_names():
    with open(os.path.join(ROOT, "meson.build")) as f:
        text = f.read()
    return re.findall(r"'(\w+)'", re.search(r"layer_names = \[(.*?)\]", text, re.S).group(1))


def sources():
    for folder, _, names in sorted(os.walk(SRC)):
        for name in sorted(names):
            if name.endswith((".c", ".h", ".S", ".in")):
                yield os.path.relpath(os.path.join(folder, name), SRC)


def includes(path):
    """(line number, included path) of each #include "..."."""
    with open(os.path.join(SRC, path)) as f:
        for number, line in enumerate(f, 1):
            m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if m:
                yield number, m.group(1)


def judge(path, included, order):
    """What is wrong with an include line, or None."""
    here, there = path.split("/")[0], included.split("/")[0]
    if "/" not in included:
        return "is not written from src/"
    if there not in order:
        return "leads to no layer of meson.build"
    if order[there] > order[here]:
        return "leads up"
    same_plugin = os.path.splitext(included)[0] == os.path.splitext(path)[0]
    if here == there == "plugins" and not same_plugin and not REGISTER.match(os.path.basename(path)):
        return "leads from one plugin to another"
    return None


def table(names, counts):
    width = max(len(n) for n in names)
    used = [n for n in names if any(counts.get((a, n)) for a in names if a != n)]
    print(" " * width + " " + " ".join(f"{n[:6]:>6}" for n in used))
    for a in names:
        cells = [f"{counts.get((a, b)) or '.':>6}" if a != b else f"{'-':>6}" for b in used]
        print(f"{a:>{width}} " + " ".join(cells))


def arrows(names, counts):
    for a in names:
        print(f"{a:>8} -> " + (" ".join(b for b in names if a != b and counts.get((a, b))) or "(nothing)"))


def main():
    names = layer_names()
    order = {n: i for i, n in enumerate(names)}
    counts, wrong = {}, []
    for path in sources():
        here = path.split("/")[0]
        if here not in order:
            wrong.append(f"src/{path}: a folder that meson.build does not list")
            continue
        for number, included in includes(path):
            there = included.split("/")[0]
            counts[here, there] = counts.get((here, there), 0) + 1
            problem = judge(path, included, order)
            if problem:
                wrong.append(f'src/{path}:{number}: #include "{included}" {problem}')
    if "--quiet" not in sys.argv:
        table(names, counts)
        print()
        arrows(names, counts)
        print()
    for line in wrong:
        print(line)
    print(f"{len(names)} layers, {sum(counts.values())} includes, {len(wrong)} against the rules")
    return 1 if wrong else 0


sys.exit(main())
