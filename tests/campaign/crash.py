#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""crash.py BUILD [options] - real programs, whose server is killed after every single operation.

Each program (programs.sh) runs three times undisturbed: that says how many requests it makes of the server,
and what it leaves: exit status, output, and of every file name, type, mode, owner, links, size, content,
xattrs, times. Then each case is one run in a fresh directory of the mounted volume, with kills:

    sort:reply:17    the server dies as it is about to send its 17th reply; so for apply, plan, commit
    sort:every:5     it dies at every fifth reply, again and again
    sort:outside:3   it is killed with SIGKILL at random moments (drawn from seed 3), again and again
    sort:recovery:4  it is killed at a random moment, and its successor while it applies the 4th operation again

and everything must be as in the undisturbed run. After every third run the server is killed once more, and all must be
the same to the last bit: inode numbers, times in nanoseconds, contents as the new server reads them. Some directories
are kept and looked at after a remount; e2fsck judges the image then.

Results are lines of JSON in --results; what is there already is not run again. A failure is one line that
says how to repeat it (--case), and its server's log is kept in --keep.
"""
import argparse
import collections
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rig  # noqa: E402

PROGRAMS = os.path.join(rig.HERE, "programs.sh")
POINTS = ("reply", "apply", "plan")
COARSE_CLOCK = 5                        # CLOCK_REALTIME_COARSE, of which times of files are made; it lags when a machine is busy
EXACT = ("type", "same", "mode", "links", "uid", "gid", "size", "content", "xattrs", "mtime")
THREADED = ("git", "leveldb")           # what is done in two threads has no order,
UNORDERED = (*THREADED, "cp")           # nor what cp does: in order of the inodes' numbers
NUMBERED = re.compile(r"/base/.*\d{6}(\.\w+)?$")    # LevelDB's thread decides how many there are
SLACK_NS = 30_000_000                   # the kernel's clock for times of files moves in ticks,
TICK_NS = 10_000_000                    # and stands up to one before or behind the server's (multigrain times)
REMOUNT_AFTER = 250
DIE_AGAIN_EVERY = 3
KEEP_EVERY, KEEP_MOST = 40, 12
FIELDS = ("type", "ino", "mode", "links", "uid", "gid", "size", "mtime", "ctime", "btime", "content", "xattrs")
TIMES = ("mtime", "ctime", "btime")


# --- what a directory looks like ----------------------------------------------------------------------

def take_look(steps, directory):
    done = subprocess.run([steps, "look", directory], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="surrogateescape",
                          timeout=120, check=False)
    return done.stdout


def parse_look(text):
    """{path: {field: value}}; a line that tells of an error becomes a field of that name."""
    seen = {}
    for line in text.splitlines():
        path, *values = line.split("\t")
        errors = [v for v in values if v.startswith("!")]
        entry = dict(zip(FIELDS, values))
        if errors:
            entry = {"error": " ".join(errors)}
        for name in ("ino", *TIMES):
            if name in entry:
                entry[name] = int(entry[name])
        seen[path] = entry
    names = {}
    for path in sorted(seen):           # hard links: which names are one file
        if "ino" in seen[path]:
            seen[path]["same"] = names.setdefault(seen[path]["ino"], path)
    return seen


class Run:
    """One run of a program: what it said and what it left."""

    def __init__(self):
        self.status, self.output, self.look_text, self.seen = None, "", "", {}
        self.started = self.ended = 0


class Reference:
    """What all undisturbed runs have in common."""

    def __init__(self, program, runs, requests):
        self.program, self.requests = program, requests
        first = runs[0]
        self.status, self.output = first.status, first.output
        for run in runs:
            if (run.status, run.output) != (self.status, self.output) or run.status != 0:
                raise SystemExit(f"crash.py: {program} is not the same twice without kills: status {run.status}\n{run.output[-500:]}")
        self.required = {p for p in set.intersection(*(set(r.seen) for r in runs)) if not NUMBERED.search(p)}
        self.allowed = set.union(*(set(r.seen) for r in runs))
        self.exact = {}
        for path in self.required:
            for field in EXACT:
                if program == "leveldb" and path != "." and field in ("size", "content", "mtime"):
                    continue                # its own thread numbers files and writes their numbers down; keys and values it prints
                values = {r.seen[path].get(field) for r in runs}
                if len(values) == 1:
                    self.exact[path, field] = values.pop()
        self.within = [(path, t) for path in self.required for t in TIMES
                       if all(r.started - SLACK_NS <= r.seen[path][t] <= r.ended + SLACK_NS for r in runs)]
        order = sorted(self.required, key=lambda p: first.seen[p]["mtime"])
        self.order = [] if program in UNORDERED else [
            (a, b) for i, a in enumerate(order) for b in order[i + 1:i + 4] if all(r.seen[a]["mtime"] < r.seen[b]["mtime"] for r in runs)]

    def differences(self, run):
        found = []
        if run.status != self.status:
            found.append(f"exit status {run.status}, not {self.status}")
        if run.output != self.output:
            found.append(first_difference(self.output, run.output))
        missing, extra = sorted(self.required - set(run.seen)), sorted(set(run.seen) - self.allowed)
        extra = [p for p in extra if not NUMBERED.search(p)]
        found += [f"{p} is missing" for p in missing[:3]] + [f"{p} is too much" for p in extra[:3]]
        found += [f"{p}: {e['error']}" for p, e in run.seen.items() if "error" in e][:3]
        if missing or any("error" in e for e in run.seen.values()):
            return found
        for (path, field), value in self.exact.items():
            if run.seen[path].get(field) != value:
                found.append(f"{path}: {field} {run.seen[path].get(field)}, not {value}")
        for path, name in self.within:
            if not run.started - SLACK_NS <= run.seen[path][name] <= run.ended + SLACK_NS:
                found.append(f"{path}: {name} is {(run.seen[path][name] - run.started) / 1e6:.1f} ms after the start of a run of {(run.ended - run.started) / 1e6:.1f} ms")
        found += [f"{a} should be older than {b}" for a, b in self.order if run.seen[a]["mtime"] > run.seen[b]["mtime"] + TICK_NS][:3]
        return found[:6]


def first_difference(wanted, got):
    for want, have in zip(wanted.splitlines() + ["(end)"], got.splitlines() + ["(end)"]):
        if want != have:
            return f"output {have[:120]!r}, not {want[:120]!r}"
    return "output differs in its end"


def look_difference(before, after):
    """Of two looks at one directory, with nothing but a server's death between them."""
    if before == after:
        return None
    old, new = parse_look(before), parse_look(after)
    for path in sorted(set(old) | set(new)):
        if old.get(path) != new.get(path):
            if path not in old or path not in new:
                return f"{path} is {'gone' if path in old else 'new'}"
            fields = [f for f in (*FIELDS, "error") if old[path].get(f) != new[path].get(f)]
            return f"{path}: " + ", ".join(f"{f} was {old[path].get(f)}, is {new[path].get(f)}" for f in fields)
    return "something"


# --- killers ---------------------------------------------------------------------------------------------

class Killer(threading.Thread):
    """Kills while a program runs: after every `every` replies, or from outside at random moments; `redo`: once, and the
    successor at so many operations that it applies again."""

    def __init__(self, volume, every=0, redo=0, seed=0):
        super().__init__(daemon=True)
        self.volume, self.every, self.redo, self.random = volume, every, redo, random.Random(seed)
        self.over = threading.Event()
        self.kills, self.trouble = 0, None

    def run(self):
        try:
            if self.redo:
                self.kill_and_again()
                return
            while not self.over.is_set():
                if self.every:
                    self.volume.inject("crash", "--after", str(self.every), "--at", "reply")
                    while not self.volume.wait_death(0.05):
                        if self.over.is_set():
                            return
                else:
                    if self.over.wait(self.random.expovariate(1 / 0.015)):
                        return
                    self.volume.kill()
                    self.volume.wait_death(5)
                    self.over.wait(0.01)
                self.kills += 1
                self.volume.learn_server()
        except (rig.Broken, OSError) as error:
            self.trouble = error

    def kill_and_again(self):
        """The fault kills at once, and once more in the recovery, if that has so much to do."""
        before = self.volume.status()["server"]["generation"]
        self.over.wait(self.random.uniform(0.005, 0.1))
        self.volume.inject("crash", "--after", str(self.redo), "--at", "recovery")
        self.volume.wait_death(5)
        self.kills = self.volume.learn_server()["server"]["generation"] - before
        self.volume.inject("clear")

    def stop(self):
        self.over.set()
        self.join(timeout=90)
        if self.trouble:
            raise rig.Broken(str(self.trouble))


# --- one mount and its cases ---------------------------------------------------------------------------------

Case = collections.namedtuple("Case", "program point number round")


def case_name(case):
    return f"{case.program}:{case.point}:{case.number}" + (f":{case.round}" if case.round > 1 else "")


def parse_case(text):
    program, point, number, *rest = text.split(":")
    return Case(program, point, int(number), int(rest[0]) if rest else 1)


class Bench:
    """A volume, and how a case runs on it."""

    def __init__(self, args, top, name):
        self.args = args
        self.volume = rig.Volume(args.build, top, name, options=args.options)
        self.count, self.since_mount, self.kept = 0, 0, []
        self.deaths = 0                 # beyond the cases' own: after each run
        self.start()

    def start(self):
        """All volumes are copies of one, so that directories are read in the same order on each."""
        pristine = os.path.join(os.path.dirname(self.volume.image), "pristine.img")
        if not os.path.exists(pristine):
            self.volume.make()
            os.rename(self.volume.image, pristine)
        subprocess.run(["cp", "--sparse=always", pristine, self.volume.image], check=True)
        self.volume.mount()
        self.since_mount, self.kept = 0, []

    def restart(self):
        """After a failure: as if nothing had been."""
        self.volume.abandon()
        self.start()

    def run_program(self, program, directory, around):
        run = Run()
        run.started = min(time.time_ns(), time.clock_gettime_ns(COARSE_CLOCK))
        os.mkdir(directory)
        killer = around() if around else None
        proc = subprocess.Popen(["sh", PROGRAMS, program, self.args.input, self.args.steps], cwd=directory, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)
        try:
            run.output, _ = proc.communicate(timeout=self.args.timeout)
        except subprocess.TimeoutExpired:
            os.killpg(proc.pid, signal.SIGKILL)
            raise rig.Broken(f"{program} took longer than {self.args.timeout} s")
        finally:
            if killer:
                killer.stop()
        run.status = proc.returncode
        run.ended = time.time_ns()
        return run, killer

    def look(self, run, directory):
        run.look_text = take_look(self.args.steps, directory)
        run.seen = parse_look(run.look_text)

    def reference(self, program):
        runs, requests = [], 0
        for n in range(3):
            directory = os.path.join(self.volume.mount_point, f"reference-{program}-{n}")
            before = self.volume.status()["fuse"]["requests"]
            run, _ = self.run_program(program, directory, None)
            requests = self.volume.status()["fuse"]["requests"] - before
            self.look(run, directory)
            runs.append(run)
            shutil.rmtree(directory)
        return Reference(program, runs, requests)

    def arm(self, case):
        """What kills during the run: a point in the server, or a thread of ours."""
        if case.point in ("every", "outside", "recovery"):
            killer = Killer(self.volume, every=case.number if case.point == "every" else 0, redo=case.number if case.point == "recovery" else 0,
                            seed=case.number * 1000 + case.round)
            killer.start()
            return killer
        self.volume.inject("crash", "--after", str(case.number), "--at", case.point)
        return None

    def run_case(self, case, reference):
        """(verdict, kills, what was wrong). Verdicts: ok, failed, not-reached."""
        self.count += 1
        directory = os.path.join(self.volume.mount_point, f"case-{self.count}")
        run, killer = self.run_program(case.program, directory, lambda: self.arm(case))
        died = self.volume.server_died()
        kills = killer.kills if killer else int(died)
        if case.point not in ("outside", "recovery") and not died:
            self.volume.inject("clear")
            died = self.volume.server_died()        # as late as that
            kills = max(kills, int(died))
        if died:
            self.volume.learn_server()
        self.look(run, directory)
        wrong = reference.differences(run)
        if not wrong:
            wrong = self.die_once_more(run, directory)
        if wrong:
            self.evidence = (run, reference)
            return "failed", kills, wrong
        self.put_away(run, directory)
        return ("ok" if kills else "not-reached"), kills, []

    def die_once_more(self, run, directory):
        """Not after every run: it takes as long as a small program."""
        if self.count % DIE_AGAIN_EVERY:
            return []
        self.volume.kill()
        again = take_look(self.args.steps, directory)
        self.volume.learn_server()
        self.deaths += 1
        difference = look_difference(run.look_text, again)
        return [f"after one more death: {difference}"] if difference else []

    def put_away(self, run, directory):
        if self.count % KEEP_EVERY == 0 and len(self.kept) < KEEP_MOST:
            self.kept.append((directory, run.look_text))
        else:
            shutil.rmtree(directory)
        self.since_mount += 1

    def remount(self):
        """What was wrong with the volume between two mounts."""
        self.volume.umount()
        said = self.volume.fsck()
        if said:
            return [f"e2fsck: {said.strip().splitlines()[1:6]}"]
        self.volume.mount()
        wrong = []
        for directory, text in self.kept:
            difference = look_difference(text, take_look(self.args.steps, directory))
            if difference:
                wrong.append(f"after a remount, {os.path.basename(directory)}: {difference}")
            shutil.rmtree(directory)
        self.kept, self.since_mount = [], 0
        return wrong


# --- the campaign -----------------------------------------------------------------------------------------------

class Campaign:
    def __init__(self, args, top):
        self.args, self.top = args, top
        self.lock = threading.Lock()
        self.references, self.limits = {}, {}
        self.counts, self.per_program = collections.Counter(), collections.Counter()
        self.failed_programs = collections.Counter()
        self.kills = 0
        self.known = {}
        self.results = None
        with open(os.path.join(args.build, "src/server/drover-server"), "rb") as program:
            self.build = hashlib.sha256(program.read()).hexdigest()[:12]
        self.deadline = time.monotonic() + args.seconds if args.seconds else None
        self.ended = False

    def end(self):
        self.ended = True

    def load_results(self):
        if not self.args.results:
            return
        if os.path.exists(self.args.results):
            with open(self.args.results, encoding="utf-8") as lines:
                for line in lines:
                    try:
                        result = json.loads(line)
                    except ValueError:
                        continue            # the last line of a run that was cut short
                    if result["verdict"] != "failed":
                        self.known[result["case"]] = result
        self.results = open(self.args.results, "a", encoding="utf-8")

    def cases(self):
        """All cases, shuffled, so that any part of them is a fair sample; every round the same way."""
        for round_number in range(1, 1000):
            cases = []
            for program, reference in self.references.items():
                for number in range(1, reference.requests + 1):
                    # Again and again is for programs that take little time; the others get a quarter of it.
                    if program in THREADED and round_number > 1 and number % 4 != round_number % 4:
                        continue
                    cases += [Case(program, point, number, round_number) for point in POINTS]
                cases += [Case(program, "every", n, round_number) for n in (2, 3, 5, 7, 11, 17, 29, 53)]
                cases += [Case(program, "outside", n, round_number) for n in range(1, 5)]
                cases += [Case(program, "recovery", n, round_number) for n in (1, 2, 3, 5, 8, 13, 21, 34)]
                cases += [Case(program, "commit", n, round_number) for n in range(1, 4)]
                cases.append(Case(program, "checkpoint", 1, round_number))
            random.Random(round_number).shuffle(cases)
            if self.args.tap:           # a small share: the same number of each program
                turn = collections.Counter()
                cases = [case for _, case in sorted(((turn.update([c.program]) or turn[c.program]), c) for c in cases)]
            yield from cases

    def wanted(self):
        share, shares = (int(x) for x in self.args.share.split("/"))
        if self.args.case:
            for name in self.args.case:
                yield from [parse_case(name)] * self.args.repeat
            return
        for index, case in enumerate(self.cases()):
            if index % shares == share - 1:
                yield case

    def take(self, source):
        """The next case to run, or None."""
        with self.lock:
            for case in source:
                if self.ended or (self.deadline and time.monotonic() > self.deadline):
                    return None
                if self.args.cases and self.counts["ok"] + self.counts["failed"] >= self.args.cases:
                    return None
                if case_name(case) in self.known and not self.args.case:
                    self.count(case, self.known[case_name(case)]["verdict"], self.known[case_name(case)]["kills"])
                elif case.number < self.limits.get((case.program, case.point), 1 << 30) or self.args.case:
                    return case
        return None

    def count(self, case, verdict, kills):
        self.counts[verdict] += 1
        self.kills += kills
        if verdict == "not-reached":
            key = case.program, case.point
            # A run makes some requests more or less than another.
            self.limits[key] = min(self.limits.get(key, 1 << 30), case.number + 8)
        else:
            self.per_program[case.program] += 1
        if verdict == "failed":
            self.failed_programs[case.program] += 1

    def record(self, case, verdict, kills, wrong, seconds):
        with self.lock:
            self.count(case, verdict, kills)
            if self.results:
                json.dump({"case": case_name(case), "build": self.build, "verdict": verdict, "kills": kills, "ms": round(seconds * 1000), **({"wrong": wrong} if wrong else {})}, self.results)
                self.results.write("\n")
                self.results.flush()
            self.progress.show(self.counts["ok"] + self.counts["failed"], f"{self.kills} kills, {self.counts['failed']} failed")
            if verdict == "failed":
                print(f"{'# ' if self.args.tap else ''}FAILED {case_name(case)}: {'; '.join(wrong)}   (repeat: {sys.argv[0]} {self.args.build} --case {case_name(case)})", flush=True)
                if self.counts["failed"] >= self.args.most_failures:
                    self.ended = True

    def keep_evidence(self, bench, case):
        if not self.args.keep:
            return
        where = os.path.join(self.args.keep, case_name(case).replace(":", "-"))
        os.makedirs(where, exist_ok=True)
        try:
            with open(os.path.join(where, "log"), "w", encoding="utf-8") as out:
                out.write(bench.volume.log_text())
            log = bench.volume.status().get("log", "")
            if os.path.exists(log):
                shutil.copy(log, os.path.join(where, "log.raw"))
        except (rig.Broken, ValueError, OSError) as error:
            print(f"# no log: {error}")
        run, reference = getattr(bench, "evidence", (None, None))
        if run:
            for name, text in (("output", run.output), ("output.wanted", reference.output), ("look", run.look_text)):
                with open(os.path.join(where, name), "w", encoding="utf-8", errors="surrogateescape") as out:
                    out.write(text)

    def work(self, bench, source):
        while (case := self.take(source)) is not None:
            started = time.monotonic()
            try:
                verdict, kills, wrong = bench.run_case(case, self.references[case.program])
                if not wrong and bench.since_mount >= REMOUNT_AFTER:
                    wrong = bench.remount()
                    verdict = "failed" if wrong else verdict
            except (rig.Broken, OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
                if self.ended:
                    return                  # it was we who were ended, and the mount is going
                verdict, kills, wrong = "failed", 0, [f"{type(error).__name__}: {error}"]
            if wrong:
                self.keep_evidence(bench, case)
            self.record(case, verdict, kills, wrong, time.monotonic() - started)
            if wrong:
                bench.restart()

    def worker(self, name, source, errors):
        bench = None
        try:
            bench = Bench(self.args, self.top, name)
            self.work(bench, source)
            wrong = bench.remount()
            bench.volume.umount()
            said = bench.volume.fsck()
            if wrong or said:
                errors.append(f"the volume at the end: {wrong} {said or ''}")
            self.deaths += bench.deaths
        except Exception as error:      # noqa: B902 - whatever it is, it is the verdict
            errors.append(f"{type(error).__name__}: {error}")
            self.ended = True
        finally:
            if bench:
                bench.volume.abandon()

    def run(self):
        self.load_results()
        self.deaths = 0
        bench = Bench(self.args, self.top, "reference")
        for program in self.args.programs:
            self.references[program] = bench.reference(program)
        bench.volume.umount()
        total = sum(r.requests for r in self.references.values())
        if not self.args.tap:
            print("requests of an undisturbed run: " + ", ".join(f"{p} {r.requests}" for p, r in self.references.items()) + f"; together {total}", flush=True)
        self.progress = rig.Progress(self.args.cases or total * 3, "cases")
        source, errors = self.wanted(), []
        rig.run_threads(lambda name: self.worker(name, source, errors), [f"m{n}" for n in range(self.args.jobs)], self.end)
        self.progress.end()
        return errors


def choose_programs(args):
    words = subprocess.run(["sh", PROGRAMS, "programs"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    own = subprocess.run([args.steps, "programs"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    needs = {"unzip": ("unzip", "zip"), "sqlite-rollback": ("sqlite3",), "sqlite-wal": ("sqlite3",), "git": ("git",)}
    if "leveldb" not in own:
        words.remove("leveldb")
    words = [w for w in words if all(shutil.which(need) for need in needs.get(w, ()))]
    if args.case:
        return sorted({parse_case(c).program for c in args.case})
    return [w for w in words if not args.programs or w in args.programs.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--jobs", type=int, default=2, help="mounts side by side")
    parser.add_argument("--cases", type=int, default=0, help="end after so many (results of earlier runs count)")
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--share", default="1/1", help="K/N: every Nth case, beginning with the Kth")
    parser.add_argument("--programs", default="", help="only these: a,b,c")
    parser.add_argument("--case", action="append", help="only this one: sort:reply:17")
    parser.add_argument("--repeat", type=int, default=1, help="of --case")
    parser.add_argument("--results", default="", help="file of JSON lines; continued when it is there")
    parser.add_argument("--keep", default="", help="directory for the logs of failures")
    parser.add_argument("--options", default="", help="mount options")
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--most-failures", type=int, default=200)
    parser.add_argument("--tap", action="store_true", help="for make check: a line for each program")
    parser.add_argument("--tmp", default=None, help="where the images are")
    args = parser.parse_args()
    reason = rig.skip_reason()
    if reason:
        print(f"ok 1 - crash campaign # SKIP {reason}")
        return 0
    args.build = os.path.abspath(args.build)
    args.steps = os.path.join(args.build, "tests/campaign/steps")
    top = rig.make_top(args.tmp)
    args.input = os.path.join(top, "input")
    subprocess.run(["sh", PROGRAMS, "make-input", args.input], check=True)
    args.programs = choose_programs(args)
    campaign = Campaign(args, top)
    errors = campaign.run()
    good = not errors and not campaign.counts["failed"] and campaign.counts["ok"]
    if args.tap:
        for n, program in enumerate(args.programs, 1):
            bad = campaign.failed_programs[program]
            print(f"{'not ok' if bad else 'ok'} {n} - {program}: {campaign.per_program[program]} runs with kills, {bad} failed")
        print(f"{'not ok' if errors else 'ok'} {len(args.programs) + 1} - the volumes are clean at the end")
    for error in errors:
        print(f"{'# ' if args.tap else ''}ERROR {error}")
    print(f"{'# ' if args.tap else ''}{campaign.counts['ok'] + campaign.counts['failed']} cases, {campaign.kills + campaign.deaths} deaths of servers "
          f"({campaign.kills} during programs), {campaign.counts['failed']} failed; {campaign.counts['not-reached']} runs ended before the chosen moment")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
