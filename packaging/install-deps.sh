#!/bin/sh
# SPDX-License-Identifier: MIT
# install-deps.sh - what drover needs to be built and tested, from Debian; silent when all is there.
# Nothing else of the build or the tests uses the network.
set -eu

# To build; for the tests (programs whose work is judged); for `make bench` (what drover stands beside).
packages="
gcc libc6-dev pkg-config meson ninja-build
libisal-dev liburing-dev libjansson-dev libseccomp-dev libcmocka-dev
python3 e2fsprogs git zip unzip sqlite3 libsqlite3-dev libleveldb-dev
fuse2fs"

command -v dpkg-query >/dev/null || {
    echo "drover: this is not Debian, so nothing is installed; by Debian's names, needed are:$(echo "$packages" | tr '\n' ' ')" >&2
    exit 0
}
missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
echo "drover: installing:$missing"
# shellcheck disable=SC2086  # lists of words on purpose
{
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
