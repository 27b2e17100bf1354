#!/bin/sh
# SPDX-License-Identifier: MIT
# bench.sh BUILD [options of bench.py]
exec python3 "$(dirname "$0")/bench.py" "$@"
