#!/bin/sh
# SPDX-License-Identifier: MIT
# bench.sh BUILD [options of bench.py] - all that `make bench` measures: beside other filesystems, what protection
# costs, and what a death of the server costs. With options: bench.py alone, with them.
here=$(dirname "$0")
[ $# -gt 1 ] && exec python3 "$here/bench.py" "$@"
echo "## Beside ext4 and fuse2fs" && python3 "$here/bench.py" "$1" &&
    echo "## Protection on beside off" && python3 "$here/bench.py" "$1" --protection --rounds 9 &&
    echo "## A server's death" && exec python3 "$here/recovery.py" "$1"
