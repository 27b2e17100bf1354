#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""memory.py BUILD [options] - bits flip in the server's memory while a workload runs that knows what is right.

A batch is one life of a volume: mounted afresh, it gets FLIPS_A_BATCH flips in one region (`drover inject flip`), and
between any two of them a workload goes on: it creates, writes, truncates, renames, removes, syncs, and
reads back what the server holds (not what the kernel remembers), with contents, sizes, modes, times, link counts and listings
that it has noted itself. At the end: everything once more, unmount, e2fsck -fn, mount, everything once more.

Each flip is one of:
    none        nobody noticed anything, and nothing was wrong at the end
    recovered   the server noticed (and a successor took over), or put it right; the workload noticed nothing
    distrust    log or page descriptors could not be trusted after a death: the server said so, and began from the disk alone, as after
                a power failure (what was not synced is gone, handles are stale)
    error       an application's call failed (or did not come back)
    read        an application read something wrong; the disk was right
    disk        something wrong is on the disk
What survives a server (P-Log, descriptors, data) is read by its successor alone: there the server is killed after every second flip, at once or
after some more work, in turns.
What is found at the end counts for one flip of the batch. Lines of JSON go to --results; --table prints them as Markdown.
"""
import argparse
import collections
import errno
import json
import os
import random
import select
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rig  # noqa: E402

REGIONS = ("heap", "metadata", "descriptors", "plog", "stack", "data")
CLASSES = ("none", "recovered", "distrust", "error", "read", "disk")
HEADS = ("no effect", "detected and recovered", "detected, from the disk alone, said so", "application saw an error", "wrong data read", "wrong on disk")
SURVIVING = ("plog", "descriptors", "data")
FLIPS_A_BATCH = 25
STEPS_A_FLIP = 40
FILES = 40
REPAIR = False                          # in the workload's process: contents that were found wrong are written anew


# --- the workload: a process of its own, since its calls may hang -------------------------------------------

class Wrong(Exception):
    """What was read is not what was written."""


class Workload:
    def __init__(self, top, seed):
        self.top, self.random = top, random.Random(seed)
        self.files, self.dirs, self.made = {}, [], 0

    def path(self, name):
        return os.path.join(self.top, name)

    def pick(self):
        return self.random.choice(sorted(self.files))

    def bytes(self, count):
        return self.random.randbytes(count)

    def fresh(self):
        self.made += 1
        where = self.random.choice(["", *(d + "/" for d in self.dirs)])
        return f"{where}{'long-name-' * (self.made % 5)}{self.made}"

    def create(self):
        name, content, mode = self.fresh(), bytearray(self.bytes(self.random.randrange(0, 50000))), self.random.choice((0o600, 0o644, 0o755))
        fd = os.open(self.path(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        os.fchmod(fd, mode)
        os.write(fd, content)
        if self.random.random() < 0.2:
            os.fsync(fd)
        os.close(fd)
        stamp = self.random.randrange(10**18, 15 * 10**17)
        os.utime(self.path(name), ns=(stamp, stamp))
        self.files[name] = {"content": content, "mode": mode, "mtime": stamp, "xattr": None}

    def write(self, at_end):
        name = self.pick()
        file = self.files[name]
        at = len(file["content"]) if at_end else self.random.randrange(0, len(file["content"]) + 5000)
        text = self.bytes(self.random.randrange(1, 9000))
        fd = os.open(self.path(name), os.O_WRONLY)
        os.pwrite(fd, text, at)
        if self.random.random() < 0.3:
            os.fdatasync(fd)
        os.close(fd)
        file["content"].extend(bytes(max(0, at - len(file["content"]))))
        file["content"][at:at + len(text)] = text
        file["mtime"] = None

    def truncate(self):
        name = self.pick()
        file = self.files[name]
        size = self.random.randrange(0, len(file["content"]) + 3000)
        os.truncate(self.path(name), size)
        file["content"] = (file["content"] + bytes(max(0, size - len(file["content"]))))[:size]
        file["mtime"] = None

    def rename(self):
        old, new = self.pick(), self.fresh()
        os.rename(self.path(old), self.path(new))
        self.files[new] = self.files.pop(old)

    def unlink(self):
        name = self.pick()
        os.unlink(self.path(name))
        del self.files[name]

    def mkdir(self):
        if len(self.dirs) < 6:
            name = f"dir{self.made}"
            self.made += 1
            os.mkdir(self.path(name))
            self.dirs.append(name)
        else:
            name = f"brief{self.made}"
            os.mkdir(self.path(name))
            os.rmdir(self.path(name))

    def attribute(self):
        name = self.pick()
        value = self.bytes(self.random.randrange(1, 300))
        os.setxattr(self.path(name), "user.value", value)
        self.files[name]["xattr"] = value

    def check(self, name):
        try:
            self.compare(name)
        except Wrong:
            if REPAIR:
                self.rewrite(name)
            raise

    def rewrite(self, name):
        """So that the next flip finds everything right again."""
        file = self.files[name]
        fd = os.open(self.path(name), os.O_WRONLY | os.O_TRUNC)
        os.write(fd, file["content"])
        os.close(fd)
        file["mtime"] = None

    def compare(self, name):
        file = self.files[name]
        fd = os.open(self.path(name), os.O_RDONLY)
        try:
            os.fdatasync(fd) if self.random.random() < 0.1 else None
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            got = os.pread(fd, len(file["content"]) + 100, 0)
        finally:
            os.close(fd)
        if got != file["content"]:
            at = next((i for i, (a, b) in enumerate(zip(got, file["content"])) if a != b), min(len(got), len(file["content"])))
            many = sum(a != b for a, b in zip(got, file["content"]))
            raise Wrong(f"content of {name}: {len(got)} bytes of {len(file['content'])}, {many} differ, the first at {at}; {got.count(0)} are zero")
        st = os.lstat(self.path(name))
        seen = (st.st_size, st.st_mode & 0o7777, st.st_nlink, st.st_uid)
        if seen != (len(file["content"]), file["mode"], 1, os.getuid()):
            raise Wrong(f"attributes of {name}: size, mode, links, owner {seen}")
        if file["mtime"] is not None and st.st_mtime_ns != file["mtime"]:
            raise Wrong(f"mtime of {name}: {st.st_mtime_ns}, not {file['mtime']}")
        if file["xattr"] is not None and os.getxattr(self.path(name), "user.value") != file["xattr"]:
            raise Wrong(f"xattr of {name}")

    def check_listing(self):
        for where in ["", *self.dirs]:
            wanted = {n.rpartition("/")[2] for n in self.files if n.rpartition("/")[0] == where} | (set(self.dirs) if not where else set())
            got = set(os.listdir(self.path(where)))
            if not where:
                got.discard("lost+found")
            if got != wanted:
                raise Wrong(f"listing of {where or '/'}: missing {sorted(wanted - got)[:3]}, too much {sorted(got - wanted)[:3]}")

    def check_all(self):
        self.check_listing()
        for name in sorted(self.files):
            self.check(name)

    def step(self):
        if len(self.files) < 5:
            return self.create()
        draw = self.random.random()
        if len(self.files) > FILES:
            return self.unlink()
        for part, work in ((0.20, self.create), (0.32, lambda: self.write(True)), (0.42, lambda: self.write(False)), (0.48, self.truncate),
                           (0.56, self.rename), (0.62, self.unlink), (0.66, self.mkdir), (0.72, self.attribute), (0.75, self.check_listing)):
            if draw < part:
                return work()
        return self.check(self.pick())


def serve_workload(top, seed):
    """The other process: does as it is told by lines on stdin, answers with a line."""
    load = Workload(top, seed)
    for line in sys.stdin:
        word, _, number = line.strip().partition(" ")
        answer = "ok"
        try:
            if word == "steps":
                for _ in range(int(number)):
                    load.step()
            else:
                load.check_all()
        except Wrong as wrong:
            answer = f"{'mended' if REPAIR and 'content' in str(wrong) else 'wrong'} {wrong}"
        except OSError as error:
            answer = f"error {errno.errorcode.get(error.errno, error.errno)} {error.strerror} {error.filename or ''}"
        print(answer, flush=True)


class Client:
    """This side of the pipe."""

    def __init__(self, top, seed, repair):
        words = f"{seed},repair" if repair else str(seed)
        self.proc = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--workload", top, words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, text, timeout=40):
        try:
            self.proc.stdin.write((text + "\n").encode())
            self.proc.stdin.flush()
        except BrokenPipeError:
            return "error the workload is gone"
        if not select.select([self.proc.stdout], [], [], timeout)[0]:
            return f"error a call did not come back in {timeout} s"
        return self.proc.stdout.readline().decode(errors="replace").strip() or "error the workload is gone"

    def end(self):
        self.proc.kill()        # our own child
        try:
            self.proc.wait(timeout=5)
        except subprocess.TimeoutExpired:
            pass                # stuck in the kernel until the mount goes


# --- a batch ---------------------------------------------------------------------------------------------------

class Batch:
    def __init__(self, args, top, region, seed):
        self.args, self.region, self.seed = args, region, seed
        self.volume = rig.Volume(args.build, top, f"{region}-{seed}", size="96M", options=args.options)
        self.classes, self.notes = [], []
        self.noticed, self.distrusted, self.over = 0, 0, False
        self.said, self.log_path, self.log = [], "", ""

    def flip(self, number):
        try:
            done = self.volume.inject("flip", "--region", self.region, "--count", "1", "--seed", str(self.seed * 1000 + number))
            said = done.stdout
        except rig.Broken as error:
            said = str(error)
            # It may well die of it at once, or stand still: then the workload's next call is answered by a successor.
            if "died before it answered" not in said and "does not answer" not in said:
                raise
        self.said.append(said.strip())

    def count_noticed(self, status):
        """What grows when a server has noticed something: deaths that were not our doing, and what was put right."""
        count = status["recoveries"]["count"] - self.volume.kills
        if os.path.exists(self.log_path):
            with open(self.log_path, encoding="utf-8", errors="replace") as lines:
                count += sum("mended" in line.split(" ", 3)[-1].split(" ", 1)[0] for line in lines)
        return count

    def live_on(self, client, number):
        """What the workload says of the time after a flip."""
        if self.region in SURVIVING and number % 4 == 1:        # before anybody can use or change what was damaged
            self.volume.kill()
        answer = client.ask(f"steps {STEPS_A_FLIP}")
        if answer == "ok" and self.region in SURVIVING and number % 4 == 3:
            self.volume.kill()
            answer = client.ask(f"steps {STEPS_A_FLIP}")
        return answer

    def one(self, client, number):
        """The class of one flip."""
        self.flip(number)
        self.volume.learn_server(known=False)
        before, distrusted = self.noticed, self.distrusted
        kills = self.volume.kills
        answer = self.live_on(client, number)
        try:
            status = self.volume.learn_server(known=False)
            self.noticed = self.count_noticed(status)
            self.distrusted = int(status["recoveries"].get("distrusted", 0) or 0)
        except (rig.Broken, ValueError) as error:
            answer = f"error {error}"
        if answer != "ok":
            self.notes.append(f"flip {number}{' and a kill' if self.volume.kills > kills else ''}: {answer}")
            self.over = not answer.startswith("mended")     # what is right from here on is anybody's guess
        if self.distrusted > distrusted:
            self.notes.append(f"flip {number}: {self.distrusted - distrusted} servers began from the disk alone")
            self.over = True
            return "distrust"
        if answer != "ok":
            return "error" if answer.startswith("error") else "read"
        if self.region in SURVIVING:
            self.credit(self.noticed - before - 1)
        return "recovered" if self.noticed > before else "none"

    def credit(self, count):
        """A successor finds what several flips have done."""
        for i in range(len(self.classes) - 1, -1, -1):
            if count > 0 and self.classes[i] == "none":
                self.classes[i] = "recovered"
                count -= 1

    def late(self, found, note):
        """Something that was found at the end belongs to a flip that nobody had noticed; to any, if there is none."""
        self.notes.append(note)
        for name in ("none", "recovered", "distrust", "error", "read"):
            if name in self.classes and name != found:
                index = len(self.classes) - 1 - self.classes[::-1].index(name)
                self.classes[index] = found
                return

    def verdict_of_disk(self, client):
        if self.over:
            client.end()                # it may hold a file open
        answer = client.ask("check", timeout=60) if not self.over else "ok"
        if answer.startswith("error"):
            self.late("error", f"at the end: {answer}")
        elif answer.startswith(("wrong", "mended")):
            self.late("read", f"at the end: {answer}")
        try:
            self.volume.umount()
        except rig.Broken as error:
            self.late("error", f"umount: {error}")
            self.volume.abandon()
        said = self.volume.fsck()
        if said:
            # A server that could not end in order leaves its journal to the next: e2fsck -n does not replay it.
            self.volume.mount()
            self.volume.umount()
            said = self.volume.fsck()
        if said:
            self.late("disk", "e2fsck: " + " / ".join(said.strip().splitlines()[1:8]))
        if self.over:
            return
        self.volume.mount()
        answer = client.ask("check", timeout=60)
        if not answer.startswith("ok"):
            self.late("disk", f"after a remount: {answer}")
        self.volume.umount()

    def run(self):
        self.volume.make()
        self.volume.mount()
        self.log_path = self.volume.status().get("log", "")
        client = Client(self.volume.mount_point, self.seed, self.region == "data")
        try:
            client.ask(f"steps {STEPS_A_FLIP * 3}")
            self.noticed = self.count_noticed(self.volume.status())
            for number in range(FLIPS_A_BATCH):
                self.classes.append(self.one(client, number))
                if self.over:
                    break
            self.verdict_of_disk(client)
        except rig.Broken as error:
            self.notes.append(f"the mount: {error}")
            if self.classes:
                self.late("error", "")
        finally:
            if os.path.exists(self.log_path):
                with open(self.log_path, encoding="utf-8", errors="replace") as lines:
                    self.log = lines.read()
            client.end()
            self.volume.abandon()
            os.unlink(self.volume.image)


# --- the campaign -------------------------------------------------------------------------------------------------

class Campaign:
    def __init__(self, args, top):
        self.args, self.top, self.lock = args, top, threading.Lock()
        self.table = collections.defaultdict(collections.Counter)
        self.known, self.results, self.flips, self.alarms = set(), None, 0, 0
        self.deadline = time.monotonic() + args.seconds if args.seconds else None
        self.ended = False

    def end(self):
        self.ended = True

    def load(self):
        if not self.args.results:
            return
        for result in read_results(self.args.results):
            self.known.add((result["region"], result["seed"]))
            self.table[result["region"]].update(result["classes"])
            self.flips += len(result["classes"])
        if not self.args.table:
            self.results = open(self.args.results, "a", encoding="utf-8")

    def batches(self):
        if self.args.case:
            for name in self.args.case:
                region, _, seed = name.partition(":")
                yield region, int(seed)
            return
        for seed in range(1, 100000):
            for region in self.args.regions.split(","):
                if (region, seed) not in self.known:
                    yield region, seed

    def take(self, source):
        with self.lock:
            over = self.ended or (self.deadline and time.monotonic() > self.deadline) or (not self.args.case and self.flips >= self.args.flips)
            return None if over else next(source, None)

    def record(self, batch):
        with self.lock:
            self.table[batch.region].update(batch.classes)
            self.flips += len(batch.classes)
            if self.results:
                json.dump({"region": batch.region, "seed": batch.seed, "classes": batch.classes, "notes": batch.notes, "distrusted": batch.distrusted}, self.results)
                self.results.write("\n")
                self.results.flush()
            for note in batch.notes:
                print(f"{'# ' if self.args.tap else ''}{batch.region}:{batch.seed}: {note}", flush=True)
            # What is promised: damage in metadata or log does not reach the disk unnoticed.
            if "disk" in batch.classes and batch.region != "data":
                self.alarms += 1
            if self.args.keep and (batch.notes or self.args.case):
                os.makedirs(self.args.keep, exist_ok=True)
                with open(os.path.join(self.args.keep, f"{batch.region}-{batch.seed}.log"), "w", encoding="utf-8") as out:
                    out.write("\n".join(batch.notes + ["", *(f"{n}: {c}: {s}" for n, (c, s) in enumerate(zip(batch.classes, batch.said))), "", batch.log]))
            self.progress.show(self.flips, f"{self.alarms} alarms")

    def worker(self, source, errors):
        while (item := self.take(source)) is not None:
            batch = Batch(self.args, self.top, *item)
            try:
                batch.run()
            except Exception as error:      # noqa: B902 - whatever it is, it is the verdict
                errors.append(f"{item[0]}:{item[1]}: {type(error).__name__}: {error}")
                if len(errors) > 5:
                    return
            self.record(batch)

    def run(self):
        self.load()
        self.progress = rig.Progress(self.args.flips, "flips")
        source, errors = self.batches(), []
        rig.run_threads(lambda _: self.worker(source, errors), range(self.args.jobs), self.end)
        self.progress.end()
        return errors


def read_results(path):
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                continue                    # the last line of a run that was cut short


def print_table(table):
    print(f"| region | flips | {' | '.join(HEADS)} |")
    print("|---|" + "---|" * (len(HEADS) + 1))
    for region in REGIONS:
        if region in table:
            print(f"| {region} | {sum(table[region].values())} | " + " | ".join(str(table[region][c]) for c in CLASSES) + " |")
    total = sum(table.values(), collections.Counter())
    print(f"| together | {sum(total.values())} | " + " | ".join(str(total[c]) for c in CLASSES) + " |")


def main():
    global REPAIR                       # pylint: disable=global-statement
    if len(sys.argv) == 4 and sys.argv[1] == "--workload":
        seed, _, word = sys.argv[3].partition(",")
        REPAIR = word == "repair"
        serve_workload(sys.argv[2], int(seed))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--flips", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--regions", default=",".join(REGIONS))
    parser.add_argument("--case", action="append", help="only this batch: metadata:17")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--results", default="", help="file of JSON lines; continued when it is there")
    parser.add_argument("--keep", default="", help="directory for logs of batches in which something was seen")
    parser.add_argument("--options", default="hang=2")
    parser.add_argument("--table", action="store_true", help="print the table of --results, run nothing")
    parser.add_argument("--tap", action="store_true")
    parser.add_argument("--tmp", default=None)
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    if args.table:
        campaign = Campaign(args, None)
        campaign.load()
        print_table(campaign.table)
        return 0
    reason = rig.skip_reason()
    if reason:
        print(f"ok 1 - memory campaign # SKIP {reason}")
        return 0
    campaign = Campaign(args, rig.make_top(args.tmp))
    errors = campaign.run()
    for error in errors:
        print(f"{'# ' if args.tap else ''}ERROR {error}")
    if args.tap:
        good = not errors and campaign.flips
        print(f"{'ok' if good else 'not ok'} 1 - {campaign.flips} flips in the server's memory, and the mount lives on")
        print(f"{'not ok' if campaign.alarms else 'ok'} 2 - none outside of file data reached the disk")
    else:
        print_table(campaign.table)
    return 1 if errors or campaign.alarms or not campaign.flips else 0


if __name__ == "__main__":
    sys.exit(main())
