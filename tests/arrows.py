#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints which folder includes which, and fails on an arrow that points up (or on a missing SPDX line).

The table is the one of docs/design.md; `rt` under fs, journal and cache is the fibre interface only
(docs/decisions/0002). Tests (`*_test.c`, `*_rig.*`, `*_fuzz.c`) may include anything.
"""
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ALLOWED = {
    "base": "",
    "rt": "base",
    "ondisk": "base",
    "dev": "base rt",
    "shepherd": "base rt ondisk dev",
    "cache": "base rt ondisk shepherd",
    "journal": "base rt ondisk cache shepherd",
    "fs": "base rt ondisk cache journal",
    "plog": "base",
    "ops": "base rt fs journal plog ondisk cache",
    "recover": "base rt ops plog",
    "front": "base rt ops plog",
    "server": "base rt ondisk dev shepherd cache journal fs plog ops recover front guardian",
    "guardian": "base plog rt",
    "cli": "base guardian",
}
# Single headers that cross a line on purpose, each with its reason in docs/decisions/0002.
ONLY = {
    ("guardian", "rt"): {"rt/rt_uring.h", "rt/ring.h"},
    ("server", "guardian"): {"guardian/legacy.h", "guardian/handoff.h", "guardian/link.h", "guardian/control.h",
                             "guardian/deathwatch.h"},
    ("cli", "guardian"): {"guardian/control.h"},
    ("ops", "cache"): {"cache/page.h", "cache/buf.h"},
}
INCLUDE = re.compile(r'^\s*#include "([a-z]+)/([^"]+)"')


def is_test(name):
    return re.search(r"(_test|_rig|_fuzz)\.[ch]$", name) is not None


def main():
    bad, arrows = [], {}
    for folder in sorted(ALLOWED):
        for root, _, files in os.walk(os.path.join(TOP, "src", folder)):
            for name in sorted(files):
                if not name.endswith((".c", ".h")):
                    continue
                path = os.path.join(root, name)
                with open(path, encoding="utf-8") as file:
                    lines = file.read().splitlines()
                short = os.path.relpath(path, TOP)
                if not lines or lines[0] != "// SPDX-License-Identifier: MIT":
                    bad.append(f"{short}: the first line is not the licence")
                for number, line in enumerate(lines, 1):
                    match = INCLUDE.match(line)
                    if not match or is_test(name):
                        continue
                    target, header = match.group(1), f"{match.group(1)}/{match.group(2)}"
                    if target == folder or target not in ALLOWED:
                        continue
                    arrows.setdefault(folder, set()).add(target)
                    only = ONLY.get((folder, target))
                    if target not in ALLOWED[folder].split() or (only and header not in only):
                        bad.append(f"{short}:{number}: {folder} must not include {header}")
    for folder in ALLOWED:
        print(f"# {folder} -> {' '.join(sorted(arrows.get(folder, []))) or '(nothing)'}")
    for line in bad:
        print(f"# {line}")
    print(("not ok" if bad else "ok") + " - every include points down, every file says its licence")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
