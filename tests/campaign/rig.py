# SPDX-License-Identifier: MIT
"""rig.py - a volume of its own, mounted, whose server can be killed: for campaigns and measurements.

Every process that it signals is one that it has asked its own guardian about and holds by a pidfd; at
the end nothing stays mounted and nothing stays on the disk. DROVER_RUN_DIR is the rig's own, so that
a campaign sees no other mount and no other mount sees it.
"""
import atexit
import json
import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))


class Broken(Exception):
    """The mount cannot be used any more, or a command of drover's failed."""


def skip_reason():
    if os.geteuid() != 0:
        return "needs root"
    if not os.path.exists("/dev/fuse"):
        return "needs /dev/fuse"
    return None


def make_top(base=None):
    """A scratch directory that is gone at the end, with a place for sockets."""
    top = tempfile.mkdtemp(prefix="drover-camp-", dir=base)
    run = os.path.join(top, "run")
    os.mkdir(run)
    if len(run) < 60:
        os.environ["DROVER_RUN_DIR"] = run
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    # Ended by TERM or HUP, everything is still unmounted.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    return top


class Volume:
    """One image and its mount. Used by one thread at a time."""

    def __init__(self, build, top, name, size="192M", options="", image=None):
        self.drover = os.path.join(os.path.abspath(build), "src/cli/drover")
        self.image = image or os.path.join(top, name + ".img")
        self.mount_point = os.path.join(top, name)
        self.size, self.options = size, options
        self.pid, self.pidfd, self.recoveries, self.kills = 0, -1, 0, 0
        self.up = False
        os.makedirs(self.mount_point, exist_ok=True)

    # --- commands ---

    def command(self, *words, timeout=60, check=True):
        try:
            done = subprocess.run([self.drover, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, errors="replace", timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise Broken(f"drover {words[0]} took longer than {timeout} s") from error
        if check and done.returncode:
            raise Broken(f"drover {' '.join(words)}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
        return done

    def make(self):
        if os.path.exists(self.image):
            os.unlink(self.image)
        self.command("mkfs", "--size", self.size, self.image)

    def mount(self):
        self.command("mount", *(["-o", self.options] if self.options else []), self.image, self.mount_point)
        self.up = True
        self.recoveries = 0
        atexit.register(self.abandon)
        self.learn_server()

    def umount(self):
        self.forget_server()
        self.command("umount", self.mount_point, timeout=120)
        self.up = False

    def abandon(self):
        """Whatever state it is in: not mounted any more."""
        if not self.up:
            return
        self.forget_server()
        try:
            if self.command("umount", self.mount_point, timeout=15, check=False).returncode == 0:
                self.up = False
                return
        except Broken:
            pass
        guardian = self.guardian_pid()
        subprocess.run(["umount", "-l", self.mount_point], stderr=subprocess.DEVNULL, check=False, timeout=30)
        if guardian:
            end_process(guardian, "drover-guardian")
        self.up = False

    def status(self):
        return json.loads(self.command("status", "--json", self.mount_point).stdout)

    def inject(self, *words):
        """What the server itself is asked for it may be too busy dying to do."""
        deadline = time.monotonic() + 10
        while True:
            done = self.command("inject", self.mount_point, *words, check=False)
            if done.returncode == 0:
                return done
            if "no server at this moment" not in done.stderr or time.monotonic() > deadline:
                raise Broken(f"drover inject {' '.join(words)}: {done.stderr.strip()[-300:]}")
            time.sleep(0.005)

    def log_text(self):
        done = self.command("log", self.mount_point, check=False)
        return done.stdout + done.stderr

    # --- the server ---

    def guardian_pid(self):
        try:
            return self.status()["guardian"]["pid"]
        except (Broken, ValueError, KeyError):
            return 0

    def forget_server(self):
        if self.pidfd >= 0:
            os.close(self.pidfd)
        self.pid, self.pidfd = 0, -1

    def learn_server(self, timeout=60, known=True):
        """Waits until a server serves, one other than the `known` one if that is dead; returns its status."""
        old = self.pid if known or self.pidfd < 0 or self.server_died() else 0
        deadline = time.monotonic() + timeout
        while True:
            status = self.status()
            pid = status["server"]["pid"]
            if status["server"]["state"] == "serving" and pid and pid != old:
                break
            if time.monotonic() > deadline:
                raise Broken("no server serves")
            time.sleep(0.001)
        self.forget_server()
        try:
            self.pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return self.learn_server(timeout, known)
        self.pid = pid
        self.recoveries = status["recoveries"]["count"]
        return status

    def server_died(self):
        return bool(select.select([self.pidfd], [], [], 0)[0])

    def wait_death(self, timeout):
        return bool(select.select([self.pidfd], [], [], timeout)[0])

    def kill(self):
        """kill -9, as an administrator would."""
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.kills += 1

    # --- verdicts on the image ---

    def fsck(self):
        """None when e2fsck has nothing to mend; else what it said."""
        done = subprocess.run(["e2fsck", "-fn", self.image], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", check=False)
        return None if done.returncode == 0 else done.stdout


def end_process(pid, name):
    """Ends a process that belongs to the rig, if it still is what it was."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith(name):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
    except OSError:
        pass
    finally:
        os.close(fd)


def make_urgent(pid):
    """Others on this machine do not wait in our place: the scheduler weighs sessions (autogroup), then processes."""
    try:
        with open(f"/proc/{pid}/autogroup", "w", encoding="ascii") as knob:
            knob.write("-19")
    except OSError:
        pass
    try:
        os.setpriority(os.PRIO_PROCESS, pid, -19)
    except OSError:
        pass


def make_urgent_alone():
    """This process and its children, not whoever else belongs to the session."""
    if os.getpgrp() != os.getpid():
        os.setsid()
    make_urgent(os.getpid())


class Progress:
    """One line on stderr when that is a terminal."""

    def __init__(self, total, what):
        self.total, self.what, self.started = total, what, time.monotonic()
        self.shown = 0.0
        self.on = sys.stderr.isatty()

    def show(self, count, note=""):
        now = time.monotonic()
        if not self.on or now - self.shown < 0.2:
            return
        self.shown = now
        rate = count / max(now - self.started, 0.001)
        part = min(count / self.total, 1.0) if self.total else 0.0
        left = (self.total - count) / rate if rate > 0 and self.total else 0
        bar = "#" * int(part * 30)
        print(f"\r[{bar:30}] {count}/{self.total} {self.what}, {rate:.1f}/s, {left / 60:.0f} min left {note}\033[K", end="", file=sys.stderr, flush=True)

    def end(self):
        if self.on:
            print("", file=sys.stderr)


def run_threads(work, arguments, end):
    """work(argument) in a thread for each; all have come back when this returns or raises. Ended by a signal, end() is called first.

    Not with Thread.join(): interrupted by a signal, a second one returns at once (bpo-45274).
    """
    back = queue.SimpleQueue()

    def one(argument):
        try:
            work(argument)
        finally:
            back.put(None)

    for argument in arguments:
        threading.Thread(target=one, args=(argument,)).start()
    left = len(arguments)
    try:
        while left:
            back.get()
            left -= 1
    except BaseException:
        end()
        while left:
            back.get()
            left -= 1
        raise
