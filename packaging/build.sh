#!/bin/sh
# SPDX-License-Identifier: MIT
# build.sh DIR [MESON-OPTION...] - configures DIR once and builds it, quietly unless it fails.
set -eu
dir=$1
shift
[ -f "$dir/build.ninja" ] || meson setup "$dir" "$@" >"$dir.log" 2>&1 || { cat "$dir.log" >&2; exit 1; }
rm -f "$dir.log"
ninja -C "$dir" --quiet all meson-test-prereq
