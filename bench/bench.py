#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench.py BUILD [--rounds N] [--only WORD] - drover beside the kernel's ext4 and fuse2fs.

All three have a volume in a regular file of the same directory. Every workload runs on each of them
in turn, round after round, so that what else the machine does hits all alike; medians and ratios
are printed as a Markdown table (for docs/performance.md).
"""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

WORKS = ["seq-write-fsync", "seq-read-cold", "seq-read-cached", "rand-read-cached", "rand-write-cached",
         "rand-read-direct", "rand-write-direct", "create", "stat", "open", "rename", "unlink",
         "write-fsync-small", "untar", "sqlite-wal", "leveldb-load"]


def quiet(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)


class Target:
    def __init__(self, name, top, build):
        self.name, self.build = name, build
        self.image, self.mount = os.path.join(top, name + ".img"), os.path.join(top, name)
        os.mkdir(self.mount)
        with open(self.image, "wb") as image:
            image.truncate(3 << 30)
        quiet("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "metadata_csum,64bit", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)

    def up(self):
        if self.name == "ext4":
            quiet("mount", "-o", "loop", self.image, self.mount)
        elif self.name == "fuse2fs":
            quiet("fuse2fs", self.image, self.mount, "-o", "allow_other,fakeroot")
        else:
            quiet(os.path.join(self.build, "src/cli/drover"), "mount", self.image, self.mount)

    def down(self):
        if self.name == "drover":
            quiet(os.path.join(self.build, "src/cli/drover"), "umount", self.mount)
        else:
            quiet("umount", self.mount)


def run_work(build, work, directory, tarball):
    if work == "untar":
        started = os.times().elapsed
        quiet("tar", "xf", tarball, "-C", directory)
        return 1 / max(os.times().elapsed - started, 1e-6)
    out = subprocess.run([os.path.join(build, "bench/work"), work, directory], check=True, stdout=subprocess.PIPE, text=True).stdout
    units, seconds = out.split()
    return float(units) / float(seconds)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    top = tempfile.mkdtemp(prefix="drover-bench-")
    targets, up = [], []
    rates = {}
    try:
        names = ["drover", "ext4"] + (["fuse2fs"] if shutil.which("fuse2fs") else [])
        tarball = os.path.join(top, "tree.tar")
        quiet("tar", "cf", tarball, "-C", "/usr/include", ".")
        for name in names:
            targets.append(Target(name, top, args.build))
            targets[-1].up()
            up.append(targets[-1])
        for round_number in range(args.rounds):
            for work in [w for w in WORKS if args.only in w]:
                for target in targets:
                    directory = os.path.join(target.mount, f"{work}-{round_number}")
                    os.mkdir(directory)
                    try:
                        rate = run_work(args.build, work, directory, tarball)
                        rates.setdefault((work, target.name), []).append(rate)
                    except subprocess.CalledProcessError as error:
                        print(f"{work} on {target.name}: {error}", file=sys.stderr)
                    shutil.rmtree(directory, ignore_errors=True)
                print(f"\rround {round_number + 1}/{args.rounds} {work:24}", end="", file=sys.stderr, flush=True)
        print("", file=sys.stderr)
    finally:
        for target in up:
            try:
                target.down()
            except subprocess.CalledProcessError:
                subprocess.run(["umount", "-l", target.mount], check=False)
        shutil.rmtree(top, ignore_errors=True)

    print("| workload | drover /s | ext4 /s | fuse2fs /s | drover : ext4 | drover : fuse2fs |")
    print("|---|---|---|---|---|---|")
    for work in WORKS:
        median = {name: statistics.median(rates[work, name]) for name in names if (work, name) in rates}
        if "drover" not in median:
            continue
        cells = [f"{median[n]:.4g}" if n in median else "-" for n in ("drover", "ext4", "fuse2fs")]
        ratios = [f"{median['drover'] / median[n]:.2f}" if n in median else "-" for n in ("ext4", "fuse2fs")]
        print(f"| {work} | {' | '.join(cells)} | {' | '.join(ratios)} |")


if __name__ == "__main__":
    main()
