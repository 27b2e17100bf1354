#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""recovery.py BUILD [--kills N] [--only WORD] - how long an application waits when the server is killed.

A prober asks the server something all the time, and tells the longest time between two answers: that is the pause. A table for
state gaps of 0, 1,000 and 100,000 operations and for 1 GiB of unwritten data, with the P-Log and (plog=off) with full-system-crash recovery,
in turns; then what an operation in the gap takes of memory; then throughput with and without protection beside flushing
after every operation. Medians; Markdown (for docs/performance.md).
"""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/campaign"))
import rig  # noqa: E402

KINDS = (("P-Log", ""), ("plog=off", "plog=off"))
GAPS = (("0", 0, 0), ("1,000 operations", 1000, 0), ("100,000 operations", 100000, 0), ("1 GiB of data", 0, 1 << 30))


def processor_ms(pid):
    """On the processor so far, all threads."""
    total = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as line:
                total += int(line.read().split()[0])
    except OSError:
        return 0.0
    return total / 1e6


class Prober:
    def __init__(self, build, path):
        self.proc = subprocess.Popen([os.path.join(build, "bench/probe"), "watch", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, word):
        self.proc.stdin.write(word + "\n")
        self.proc.stdin.flush()
        return self.proc.stdout.readline().strip()

    def end(self):
        self.proc.stdin.close()
        self.proc.wait()


def commit(volume):
    """Everything that is not durable becomes so: the gap is empty."""
    fd = os.open(os.path.join(volume.mount_point, "probed"), os.O_CREAT | os.O_RDWR)
    os.write(fd, b"x")
    os.fsync(fd)
    os.close(fd)


def write_data(path, count):
    """Data that the server has and the disk has not."""
    chunk = os.urandom(1 << 20)
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    for _ in range(count >> 20):
        os.write(fd, chunk)
    os.close(fd)            # the kernel hands over what it still has


def make_gap(args, volume, operations, data):
    directory = os.path.join(volume.mount_point, "gap")
    shutil.rmtree(directory, ignore_errors=True)
    os.mkdir(directory)
    commit(volume)
    if operations:
        subprocess.run([os.path.join(args.build, "bench/probe"), "gap", directory, str(operations)], check=True, stdout=subprocess.DEVNULL)
    if data:
        write_data(os.path.join(directory, "data"), data)


def wait_standby(volume):
    """A next death so soon that nobody stands by is another measurement."""
    deadline = time.monotonic() + 10
    while "plog=off" not in volume.options and time.monotonic() < deadline:
        standby = volume.status()["standby"]["pid"]
        if standby:
            return standby
        time.sleep(0.02)
    return 0


def one_kill(args, volume, operations, data):
    """(pause in ms, entries, bytes of the log, dirty bytes, longest wait without a kill) of one death."""
    standby = wait_standby(volume)
    make_gap(args, volume, operations, data)
    if args.urgent:
        rig.make_urgent(volume.pid)
        rig.make_urgent(standby)
    prober = Prober(args.build, os.path.join(volume.mount_point, "probed"))
    try:
        prober.ask("reset")
        time.sleep(0.05)
        status = volume.status()
        steady = float(prober.ask("gap").split()[0])
        used = processor_ms(standby)
        volume.kill()
        volume.learn_server()
        used = processor_ms(volume.pid) - (used if volume.pid == standby else 0)
        time.sleep(0.1)
        pause = float(prober.ask("gap").split()[0])
    finally:
        prober.end()
    return pause, status["plog"]["entries"], status["plog"]["bytes"], status["cache"].get("data_dirty_bytes", 0), steady, used


def pauses(args, top):
    volumes, seen = {}, {}
    try:
        for kind, options in KINDS:
            volume = rig.Volume(args.build, top, kind.replace("=", "-"), size="12G", options=",".join(filter(None, [f"cache={args.cache}", options])))
            volumes[kind] = volume
            volume.make()
            volume.mount()
        for gap, operations, data in [g for g in GAPS if args.only in g[0]]:
            for n in range(args.kills):
                for kind, _ in KINDS:
                    if sys.stderr.isatty():
                        print(f"\r{gap}, {kind}: {n + 1}/{args.kills}\033[K", end="", file=sys.stderr, flush=True)
                    found = one_kill(args, volumes[kind], operations, data)
                    seen.setdefault((gap, kind), []).append(found)
                    if args.verbose:
                        print(f"{gap} {kind} {found}", file=sys.stderr)
    finally:
        if sys.stderr.isatty():
            print("", file=sys.stderr)
        wrong = []
        for volume in volumes.values():
            volume.abandon()
            said = volume.fsck()
            if said:
                wrong.append(f"{volume.image}: e2fsck: {said.splitlines()[1:4]}")
            os.unlink(volume.image)
        for line in wrong:
            print(line)
    return seen


def print_pauses(args, seen):
    print(f"\n### A server's death: pause in ms, median (and longest) of {args.kills} kills\n")
    print("| state gap | entries in the log at the kill | unwritten data, MiB | P-Log, standby | plog=off: full-system-crash recovery | processor time of the successor until it serves |")
    print("|---|---|---|---|---|---|")
    for gap, _, _ in GAPS:
        if (gap, "P-Log") not in seen:
            continue
        cells = [f"{statistics.median(p[0] for p in seen[gap, kind]):.2f} ({max(p[0] for p in seen[gap, kind]):.1f})" for kind, _ in KINDS]
        rows = seen[gap, "P-Log"]
        print(f"| {gap} | {statistics.median(p[1] for p in rows):,.0f} | {statistics.median(p[3] for p in rows) / 1048576:,.0f} | {' | '.join(cells)} | {statistics.median(p[5] for p in rows):.1f} |")
    costs = [p[2] / p[1] for (_, kind), ps in seen.items() if kind == "P-Log" for p in ps if p[1] > 500]
    if costs:
        print(f"\nMemory in the gap: {statistics.median(costs):.0f} bytes of log for one entry of this mix (128 for a slot, another where a name is kept).")
    print(f"The longest wait of the prober without a kill in the same 50 ms: {statistics.median(p[4] for ps in seen.values() for p in ps):.2f} ms (median).")


def throughput(args, top):
    """What it costs to flush after every operation instead of keeping a log."""
    rates = {}
    volumes = {}
    for kind, options in KINDS:
        volumes[kind] = rig.Volume(args.build, top, "t-" + kind.replace("=", "-"), size="4G", options=options)
        volumes[kind].make()
        volumes[kind].mount()
        if args.urgent:
            rig.make_urgent(volumes[kind].pid)
    try:
        for n in range(args.rounds):
            for name, kind, count, extra in (("P-Log", "P-Log", 20000, []), ("plog=off", "plog=off", 20000, []), ("flush after every operation", "plog=off", 300, ["sync"])):
                directory = os.path.join(volumes[kind].mount_point, f"{n}-{len(extra)}")
                os.mkdir(directory)
                out = subprocess.run([os.path.join(args.build, "bench/probe"), "gap", directory, str(count), *extra], check=True, stdout=subprocess.PIPE, text=True).stdout.split()
                rates.setdefault(name, []).append(float(out[0]) / float(out[1]))
                shutil.rmtree(directory)
    finally:
        for volume in volumes.values():
            volume.abandon()
            os.unlink(volume.image)
    base = statistics.median(rates["plog=off"])
    print(f"\n### Operations a second (the same mix), median of {args.rounds} rounds in turn\n\n| | operations/s | of plog=off |\n|---|---|---|")
    for name, values in rates.items():
        print(f"| {name} | {statistics.median(values):,.0f} | {statistics.median(values) / base:.3f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--kills", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cache", default="4G")
    parser.add_argument("--only", default="", help="only gaps with this in their name; 'throughput' for the last table alone")
    parser.add_argument("--urgent", action="store_true", help="before other work on this machine, as far as its scheduler can tell")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--tmp", default=None)
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    if rig.skip_reason():
        sys.exit(f"recovery.py: {rig.skip_reason()}")
    top = rig.make_top(args.tmp)
    if args.urgent:
        rig.make_urgent_alone()
    if args.only != "throughput":
        seen = pauses(args, top)
        print_pauses(args, seen)
    if args.only in ("", "throughput"):
        throughput(args, top)


if __name__ == "__main__":
    main()
