#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scale.py BUILD [--rounds N] [--only WORD] [--entries N] - what an operation costs as things grow.

Volumes of 1 GiB to 1 TiB, directories of 10 to 1,000,000 entries, files of 1 MiB to 1 TiB, caches of
32 to 512 MiB, and a server with nothing to do. Everything is sparse; a few GiB of disk suffice.
Prints Markdown tables (for docs/performance.md): medians over rounds, in microseconds an operation
unless a heading says otherwise. Whatever the kernel could answer from its own caches is asked after
those were dropped, or in a way that they cannot know (new names, direct I/O): drover is measured.
"""
import argparse
import json
import mmap
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40


def quiet(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stdout.strip()}")


def size_name(size):
    for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


def table(title, heads, rows):
    print(f"\n### {title}\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for row in rows:
        print("| " + " | ".join(cell if isinstance(cell, str) else f"{cell:.3g}" if cell < 100 else f"{cell:,.0f}" for cell in row) + " |")
    sys.stdout.flush()


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as knob:
        knob.write("2")             # names and inodes; pages of files are left to others


class Volume:
    """A sparse image of its own, mounted while the `with` lasts."""

    def __init__(self, build, top, size, options=""):
        self.drover = os.path.join(build, "src/cli/drover")
        self.image, self.mount, self.options = os.path.join(top, "disk.img"), os.path.join(top, "mnt"), options
        with open(self.image, "wb") as image:
            image.truncate(size)
        os.makedirs(self.mount, exist_ok=True)
        quiet("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "metadata_csum,64bit,^orphan_file",
              "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", self.image)

    def up(self):
        started = time.perf_counter()
        quiet(self.drover, "mount", *(["-o", self.options] if self.options else []), self.image, self.mount)
        return time.perf_counter() - started

    def down(self):
        started = time.perf_counter()
        quiet(self.drover, "umount", self.mount)
        return time.perf_counter() - started

    def status(self):
        return json.loads(subprocess.run([self.drover, "status", "--json", self.mount], check=True, stdout=subprocess.PIPE).stdout)

    def server(self):
        return self.status()["server"]["pid"]

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, *error):
        os.chdir("/")
        if subprocess.run([self.drover, "umount", self.mount], stderr=subprocess.DEVNULL, check=False).returncode:
            subprocess.run(["umount", "-l", self.mount], stderr=subprocess.DEVNULL, check=False)
        os.unlink(self.image)


def each_us(count, work):
    """Median over batches of the mean time of one call, in microseconds."""
    batch, times = max(count // 10, 1), []
    for first in range(0, count, batch):
        started = time.perf_counter()
        for i in range(first, min(first + batch, count)):
            work(i)
        times.append((time.perf_counter() - started) / batch * 1e6)
    return statistics.median(times)


def memory_mib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as line:
        fields = line.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- volumes ---------------------------------------------------------------------------------------

def create(path):
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))


def write_4k(path):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(fd, bytes(4096))
    os.fsync(fd)
    os.close(fd)


def volumes(args, top):
    rows = []
    for size in (GIB, 64 * GIB, TIB):
        samples = []
        with Volume(args.build, top, size) as volume:
            volume.down()
            for n in range(args.rounds):
                mount = volume.up() * 1e3
                there = f"{volume.mount}/round{n}"
                os.mkdir(there)
                made = each_us(2000, lambda i: create(f"{there}/f{i}"))
                drop_caches()
                seen = each_us(2000, lambda i: os.stat(f"{there}/f{i}"))
                wrote = each_us(100, lambda i: write_4k(f"{there}/w{i}"))
                memory = memory_mib(volume.server())
                samples.append((mount, made, seen, wrote, memory, volume.down() * 1e3))
            volume.up()
        rows.append((size_name(size), *map(statistics.median, zip(*samples))))
    table("Volumes", ["volume", "mount, ms", "create", "stat", "4K write, fsync", "server's memory, MiB", "unmount, ms"], rows)


# --- directories -----------------------------------------------------------------------------------

def fill(directory, first, count):
    for i in range(first, count):
        create(f"{directory}/entry{i}")


def directories(args, top):
    rows, rng = [], random.Random(1)
    # One volume has room for all the inodes; the largest directory grows out of the smaller ones.
    with Volume(args.build, top, 64 * GIB, "cache=512M") as volume:
        there, before = f"{volume.mount}/dir", 0
        os.mkdir(there)
        for entries in (10, 1000, 100_000, 1_000_000):
            if entries > args.entries:
                break
            fill(there, before, entries)
            before = entries
            samples = []
            for n in range(args.rounds):
                drop_caches()
                names = [f"{there}/entry{rng.randrange(entries)}" for _ in range(1000)]
                seen = each_us(len(names), lambda i: os.stat(names[i]))
                missed = each_us(1000, lambda i: os.path.lexists(f"{there}/no{n}.{i}"))
                made = each_us(1000, lambda i: create(f"{there}/new{n}.{i}"))
                drop_caches()
                gone = each_us(1000, lambda i: os.unlink(f"{there}/new{n}.{i}"))
                samples.append((seen, missed, made, gone))
            rows.append((f"{entries:,}", *map(statistics.median, zip(*samples))))
        started = time.perf_counter()
        found = len(os.listdir(there))
        listing = (time.perf_counter() - started) / found * 1e6
    table("Directories", ["entries", "stat of one", "stat of none", "create", "unlink"], rows)
    print(f"\nReading the largest whole ({found:,} entries): {listing:.3g} microseconds an entry.")


# --- files -----------------------------------------------------------------------------------------

def files(args, top):
    rows, block = [], bytearray(os.urandom(4096))
    with Volume(args.build, top, 64 * GIB) as volume:
        for size in (MIB, GIB, TIB):
            samples = []
            for n in range(args.rounds):
                path = f"{volume.mount}/file"
                at = [random.Random(n).randrange(size // 4096) * 4096 for _ in range(2000)]
                with open(path, "wb") as file:
                    file.truncate(size)
                fd = os.open(path, os.O_RDWR)
                wrote = each_us(len(at), lambda i: os.pwrite(fd, block, at[i]))
                os.fsync(fd)
                os.close(fd)
                # Through the server, not the kernel's page cache; Python has no aligned buffers but mmap's.
                aligned = mmap.mmap(-1, 4096)
                aligned.write(block)
                fd = os.open(path, os.O_RDWR | os.O_DIRECT)
                rewrote = each_us(500, lambda i: os.pwrite(fd, aligned, at[i]))
                read = each_us(len(at), lambda i: os.preadv(fd, [aligned], at[i]))
                os.close(fd)
                started = time.perf_counter()
                os.unlink(path)
                samples.append((wrote, rewrote, read, (time.perf_counter() - started) * 1e3))
            rows.append((size_name(size), *map(statistics.median, zip(*samples))))
    table("Sparse files, 4 KiB at random places", ["file", "write, cached", "overwrite, direct", "read, direct", "unlink, ms"], rows)


# --- memory and idleness ---------------------------------------------------------------------------

def work_hard(volume):
    """More metadata and data than the smaller caches hold."""
    for d in range(40):
        os.makedirs(f"{volume.mount}/m/d{d}", exist_ok=True)
        for i in range(500):
            create(f"{volume.mount}/m/d{d}/f{i}")
    with open(f"{volume.mount}/m/large", "wb") as file:
        for _ in range(600):
            file.write(bytes(MIB))
        os.fsync(file.fileno())
    drop_caches()
    for directory, _, names in os.walk(f"{volume.mount}/m"):
        for name in names:
            os.lstat(os.path.join(directory, name))


def memory(args, top):
    rows = []
    for cache in (32, 64, 128, 256, 512):
        with Volume(args.build, top, 8 * GIB, f"cache={cache}M") as volume:
            started = memory_mib(volume.server())
            work_hard(volume)
            rows.append((f"{cache} MiB", started, memory_mib(volume.server())))
    table("Memory of the server, MiB", ["cache=", "after mount", "after 20,000 files and 600 MiB"], rows)


def idle(args, top):
    rows = []
    with Volume(args.build, top, 8 * GIB) as volume:
        for state in ("just mounted", "after work"):
            if state == "after work":
                work_hard(volume)
                time.sleep(8)       # the commit interval is over, the flusher has nothing left
            everybody = volume.status()
            pids = everybody["server"]["pid"], everybody["guardian"]["pid"]
            before = [cpu_seconds(pid) for pid in pids]
            time.sleep(10)
            rows.append((state, *((cpu_seconds(pid) - start) * 1e3 for pid, start in zip(pids, before))))
    table("Processor time of an idle mount in 10 s, ms", ["", "server", "guardian"], [(r[0], f"{r[1]:.0f}", f"{r[2]:.0f}") for r in rows])


PARTS = [volumes, directories, files, memory, idle]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--entries", type=int, default=1_000_000)
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    if os.getuid() != 0 or not os.path.exists("/dev/fuse"):
        sys.exit("scale.py: needs root and /dev/fuse")
    top = tempfile.mkdtemp(prefix="drover-scale-")
    if len(top) <= 30:              # a socket's name must be short
        os.environ["DROVER_RUN_DIR"] = os.path.join(top, "run")
    try:
        print(f"Linux {os.uname().release}, {os.cpu_count()} processors, images in {os.path.dirname(top)}; microseconds unless said otherwise.")
        for part in PARTS:
            if args.only in part.__name__:
                part(args, top)
    finally:
        shutil.rmtree(top, ignore_errors=True)


if __name__ == "__main__":
    main()
