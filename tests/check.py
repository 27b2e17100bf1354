#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""make check: builds twice (plain, and with ASan+UBSan), runs every test, counts them.

Unit tests and the simulator run in the build with sanitizers; tests through a real mount run the
plain one. Each test program speaks TAP; one that does not counts as one test by its exit status.
The closing line is `N passed, N failed, N skipped`.
"""
import json
import os
import re
import signal
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TAP = re.compile(r"^(ok|not ok)\b\s*\d*\s*-?\s*(.*)$")


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def take_tap(self, name, output):
        """Counts TAP lines; returns how many there were."""
        seen = 0
        for line in output.splitlines():
            match = TAP.match(line)
            if not match:
                continue
            seen += 1
            verdict, text = match.groups()
            if "# SKIP" in text.upper():
                self.skipped += 1
                print(f"  skipped: {name}: {text}")
            elif verdict == "ok":
                self.passed += 1
            else:
                self.failed += 1
                print(f"  FAILED: {name}: {text}")
        return seen


def build(directory, *options):
    subprocess.run(["sh", "packaging/build.sh", directory, "-Dwerror=true", *options], cwd=TOP, check=True)


def tests_of(directory):
    text = subprocess.run(["meson", "introspect", "--tests", directory], cwd=TOP, check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    return json.loads(text)


def run_one(tally, test):
    env = {**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP", "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
           "ASAN_OPTIONS": "detect_stack_use_after_return=0:abort_on_error=1", **test["env"]}
    before = tally.failed
    started = time.monotonic()
    # A session of its own, so that a test that hangs is ended with all its children, and only they.
    proc = subprocess.Popen(test["cmd"], cwd=test["workdir"] or TOP, env=env, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)
    try:
        output, _ = proc.communicate(timeout=test["timeout"])
    except subprocess.TimeoutExpired:
        os.killpg(proc.pid, signal.SIGTERM)     # scripts clean up on TERM
        try:
            output, _ = proc.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(proc.pid, signal.SIGKILL)
            output, _ = proc.communicate()
        output += f"\nnot ok - {test['name']} took longer than {test['timeout']} s\n"

    seen = tally.take_tap(test["name"], output)
    if proc.returncode == 77 and not seen:
        tally.skipped += 1
        print(f"  skipped: {test['name']}: {output.strip().splitlines()[-1] if output.strip() else 'no reason given'}")
    elif proc.returncode != 0 and tally.failed == before:
        tally.failed += 1
        print(f"  FAILED: {test['name']}: exit status {proc.returncode}")
    elif not seen:
        tally.passed += 1
    if tally.failed != before:
        print("".join(f"    {line}\n" for line in output.splitlines()[-60:]), end="")
    print(f"{test['name']}: {time.monotonic() - started:.1f} s", flush=True)


def main():
    os.chdir(TOP)
    build("build")
    build("build-asan", "-Db_sanitize=address,undefined", "-Db_lundef=false", "-Ddebug_checks=true")
    only = sys.argv[1:]
    tally = Tally()
    for directory, wants_mount in (("build-asan", False), ("build", True)):
        for test in tests_of(directory):
            if ("mount" in test["suite"][-1]) != wants_mount:
                continue
            if not only or any(word in test["name"] for word in only):
                run_one(tally, test)
    print(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped")
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
