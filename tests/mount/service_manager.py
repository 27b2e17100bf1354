#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""service_manager.py PIDFILE READYFILE COMMAND... - as much of systemd as Type=notify with FDSTORE= needs.

Starts COMMAND, keeps the descriptors that it sends, and starts it again with them when it dies by a signal or
fails, as Restart=on-failure does; with KillMode=mixed whatever else the service had started dies first. Every
start writes the main process's number to PIDFILE, every READY=1 appends a line to READYFILE.
"""
import array
import fcntl
import os
import select
import signal
import socket
import sys
import tempfile


class Store:
    def __init__(self):
        self.fds = []               # [name, fd], in order

    def put(self, name, fds):
        self.fds += [[name, fd] for fd in fds]

    def remove(self, name):
        for entry in [e for e in self.fds if e[0] == name]:
            os.close(entry[1])
            self.fds.remove(entry)


def take(sock, store, ready_file):
    """One datagram."""
    data, control, _, _ = sock.recvmsg(4096, socket.CMSG_SPACE(16 * 4))
    fds = array.array("i")
    for level, kind, payload in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[:len(payload) - len(payload) % 4])
    words = dict(line.split("=", 1) for line in data.decode().splitlines() if "=" in line)
    if words.get("FDSTORE") == "1":
        assert words.get("FDPOLL") == "0", "would be woken by every request"
        store.put(words.get("FDNAME", "stored"), list(fds))
    elif words.get("FDSTOREREMOVE") == "1":
        store.remove(words["FDNAME"])
    if words.get("READY") == "1":
        with open(ready_file, "a") as out:
            out.write(" ".join(sorted(name for name, _ in store.fds)) + "\n")


def start(command, store, path):
    """With the stored descriptors as 3, 4, ... and their names in the environment."""
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    # First out of the way of the numbers that are to be used.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for _, fd in store.fds]
    for i, fd in enumerate(high):
        os.dup2(fd, 3 + i, inheritable=True)
        os.close(fd)
    env = {**os.environ, "NOTIFY_SOCKET": path}
    if high:
        env.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(high)),
                   LISTEN_FDNAMES=":".join(name for name, _ in store.fds))
    os.closerange(3 + len(high), 100)
    os.execve(command[0], command, env)


def kill_rest(group):
    """KillMode=mixed: what the dead main process has left."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def main():
    pid_file, ready_file, *command = sys.argv[1:]
    keep_rest = os.environ.pop("KEEP_REST", "") == "1"      # KillMode=process
    store = Store()
    with tempfile.TemporaryDirectory() as where:
        path = where + "/notify"
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(path)
        while True:
            pid = start(command, store, path)
            with open(pid_file, "w") as out:
                out.write(str(pid))
            status = None
            while status is None:
                if select.select([sock], [], [], 0.02)[0]:
                    take(sock, store, ready_file)
                    continue
                done, raw = os.waitpid(pid, os.WNOHANG)
                if done:
                    status = raw
            while select.select([sock], [], [], 0)[0]:      # its last words
                take(sock, store, ready_file)
            if status == 0:
                break
            if not keep_rest:
                kill_rest(pid)
        sock.close()
        print("left:", *[name for name, _ in store.fds])


if __name__ == "__main__":
    main()
