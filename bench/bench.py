#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench.py BUILD [--rounds N] [--only WORD] [--protection] - drover beside the kernel's ext4 and fuse2fs.

All three have a volume in a regular file of the same directory. Every workload runs on each of them
in turn, round after round, so that what else the machine does hits all alike; medians and ratios
are printed as a Markdown table (for docs/performance.md).

--protection: drover as it is (P-Log, standby) beside drover with plog=off, every workload on both in turn, first the one, then
the other. By time, and by processor time of the server (all its threads, /proc/PID/task/*/schedstat, nanoseconds): what machines
without counters of instructions have.
"""
import argparse
import glob
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/campaign"))
import rig  # noqa: E402

WORKS = ["seq-write-fsync", "seq-read-cold", "seq-read-cached", "rand-read-cached", "rand-write-cached",
         "rand-read-direct", "rand-write-direct", "create", "stat", "open", "rename", "unlink",
         "write-fsync-small", "untar", "sqlite-wal", "leveldb-load"]


def quiet(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)


class Target:
    def __init__(self, name, top, build, options=""):
        self.name, self.build, self.options = name, build, options
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
            quiet(os.path.join(self.build, "src/cli/drover"), "mount", *(["-o", self.options] if self.options else []), self.image, self.mount)

    def processes(self):
        text = subprocess.run([os.path.join(self.build, "src/cli/drover"), "status", "--json", self.mount], check=True, stdout=subprocess.PIPE).stdout
        status = json.loads(text)
        return status["guardian"]["pid"], status["server"]["pid"]

    def down(self):
        if self.name.startswith("drover"):
            quiet(os.path.join(self.build, "src/cli/drover"), "umount", self.mount)
        else:
            quiet("umount", self.mount)


    def server_seconds(self):
        """On the processor, by all threads of the server that runs now."""
        total = 0
        for path in glob.glob(f"/proc/{self.processes()[1]}/task/*/schedstat"):
            with open(path, encoding="ascii") as line:
                total += int(line.read().split()[0])
        return total / 1e9


def run_work(build, work, directory, tarball):
    if work == "untar":
        started = os.times().elapsed
        quiet("tar", "xf", tarball, "-C", directory)
        return 1 / max(os.times().elapsed - started, 1e-6)
    out = subprocess.run([os.path.join(build, "bench/work"), work, directory], check=True, stdout=subprocess.PIPE, text=True).stdout
    units, seconds = out.split()
    return float(units) / float(seconds)


def one_round(args, targets, number, tarball, results):
    """Every workload on every target; {(work, target): [(rate, server's seconds)]} grows."""
    for work in [w for w in WORKS if args.only in w]:
        # Whoever is first finds another disk and another machine than who comes after: so that alternates.
        for target in targets if number % 2 == 0 else targets[::-1]:
            directory = os.path.join(target.mount, f"{work}-{number}")
            os.mkdir(directory)
            try:
                before = target.server_seconds() if args.protection else 0
                rate = run_work(args.build, work, directory, tarball)
                used = target.server_seconds() - before if args.protection else 0
                results.setdefault((work, target.name), []).append((rate, used))
            except subprocess.CalledProcessError as error:
                print(f"{work} on {target.name}: {error}", file=sys.stderr)
            shutil.rmtree(directory, ignore_errors=True)
        if sys.stderr.isatty():
            print(f"\rround {number + 1}/{args.rounds} {work:24}", end="", file=sys.stderr, flush=True)


def print_beside_others(results, names):
    print("| workload | drover /s | ext4 /s | fuse2fs /s | drover : ext4 | drover : fuse2fs |")
    print("|---|---|---|---|---|---|")
    for work in WORKS:
        median = {name: statistics.median(r for r, _ in results[work, name]) for name in names if (work, name) in results}
        if "drover" not in median:
            continue
        cells = [f"{median[n]:.4g}" if n in median else "-" for n in ("drover", "ext4", "fuse2fs")]
        ratios = [f"{median['drover'] / median[n]:.2f}" if n in median else "-" for n in ("ext4", "fuse2fs")]
        print(f"| {work} | {' | '.join(cells)} | {' | '.join(ratios)} |")


def print_protection(results):
    """Time: of the medians, and the median of the ratios of neighbours; the same for the server's processor time."""
    print("| workload | on /s | off /s | time, on : off | median of pairs | server's processor time, on : off |")
    print("|---|---|---|---|---|---|")
    for work in WORKS:
        on, off = results.get((work, "drover"), []), results.get((work, "drover-off"), [])
        if not on or not off:
            continue
        rate_on, rate_off = statistics.median(r for r, _ in on), statistics.median(r for r, _ in off)
        pairs = statistics.median(b[0] / a[0] for a, b in zip(on, off))
        used_on, used_off = statistics.median(u for _, u in on), statistics.median(u for _, u in off)
        print(f"| {work} | {rate_on:.4g} | {rate_off:.4g} | {rate_off / rate_on:.3f} | {pairs:.3f} | {f'{used_on / used_off:.3f}' if used_off > 0.01 else '-'} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--protection", action="store_true")
    parser.add_argument("--urgent", action="store_true", help="with --protection: before other work on this machine")
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    if args.urgent:
        rig.make_urgent_alone()
    top = tempfile.mkdtemp(prefix="drover-bench-")
    targets, up, results = [], [], {}
    try:
        if args.protection:
            kinds = [("drover", ""), ("drover-off", "plog=off")]
        else:
            kinds = [(name, "") for name in ["drover", "ext4"] + (["fuse2fs"] if shutil.which("fuse2fs") else [])]
        tarball = os.path.join(top, "tree.tar")
        quiet("tar", "cf", tarball, "-C", "/usr/include", ".")
        for name, options in kinds:
            targets.append(Target(name, top, args.build, options))
            targets[-1].up()
            up.append(targets[-1])
            if args.urgent and args.protection:
                for pid in targets[-1].processes():
                    rig.make_urgent(pid)
        for number in range(args.rounds):
            one_round(args, targets, number, tarball, results)
        if sys.stderr.isatty():
            print("", file=sys.stderr)
    finally:
        for target in up:
            try:
                target.down()
            except subprocess.CalledProcessError:
                subprocess.run(["umount", "-l", target.mount], check=False)
        shutil.rmtree(top, ignore_errors=True)
    if args.protection:
        print_protection(results)
    else:
        print_beside_others(results, [name for name, _ in kinds])


if __name__ == "__main__":
    main()
