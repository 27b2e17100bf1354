#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""instructions.py BUILD [--count N] - what the P-Log costs in instructions, exactly, where processors do not count them.

Runs the server's core over the simulated disk (instructions.c) under valgrind, with the log and without, N operations less none.
Markdown. Needs valgrind.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile


def instructions(build, image, work, count, kind):
    done = subprocess.run(["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", os.path.join(build, "bench/instructions"),
                           image, work, str(count), kind], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stdout)
    if done.returncode or not found:
        sys.exit(f"instructions.py: {work} {count} {kind}: exit {done.returncode}\n{done.stdout[-2000:]}")
    return int(found[1].replace(",", ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--count", type=int, default=1000)
    args = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("instructions.py: valgrind is not installed")
    subprocess.run(["ninja", "-C", args.build, "--quiet", "bench/instructions"], check=True)
    works = subprocess.run([os.path.join(args.build, "bench/instructions"), "works"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    with tempfile.TemporaryDirectory(prefix="drover-instructions-") as top:
        image = os.path.join(top, "disk.img")
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "metadata_csum,64bit", "-N", "16384", image, "256M"], check=True,
                       env={**os.environ, "E2FSPROGS_FAKE_TIME": "1500000000"})
        base = {kind: instructions(args.build, image, works[0], 0, kind) for kind in ("on", "off")}
        print("| operation | instructions with the P-Log | without | on : off |\n|---|---|---|---|")
        for work in works:
            on, off = ((instructions(args.build, image, work, args.count, kind) - base[kind]) / args.count for kind in ("on", "off"))
            print(f"| {work} | {on:,.0f} | {off:,.0f} | {on / off:.3f} |", flush=True)


if __name__ == "__main__":
    main()
