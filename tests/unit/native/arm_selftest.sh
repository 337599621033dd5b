#!/bin/sh
# Cross-compiles the SHA-256 paths for 64-bit ARM and runs them under emulation.
# Needs Debian's gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user; exits 77 where they are not there.
set -eu
here=$(dirname "$0")
native="$here/../../../native/c"
for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
    command -v "$tool" >/dev/null || { echo "arm_selftest: no $tool" >&2; exit 77; }
done
binary=$(mktemp)
trap 'rm -f "$binary"' EXIT
aarch64-linux-gnu-gcc -std=c11 -O3 -Wall -Wextra -Werror -static -I"$native" -o "$binary" \
    "$here/sha256_selftest.c" "$native"/*.c
qemu-aarch64 "$binary" armv8
