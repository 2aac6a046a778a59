#!/usr/bin/env bash
# Installs a build and compiles a program with what was installed, by find_package and by pkg-config.
#   consumer.sh BUILD-FOLDER C-COMPILER VERSION
set -eu
here=$(dirname "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cmake --install "$1" --prefix "$folder/evener" >/dev/null

cmake -S "$here" -B "$folder/build" -DCMAKE_C_COMPILER="$2" -DCMAKE_PREFIX_PATH="$folder/evener" >/dev/null
cmake --build "$folder/build" >/dev/null
[ "$("$folder/build/consumer")" = "$3" ]

pc=$(dirname "$(find "$folder/evener" -name evener.pc)")
export PKG_CONFIG_PATH=$pc LD_LIBRARY_PATH=${pc%/*}
[ "$(pkg-config --modversion evener)" = "$3" ]
# shellcheck disable=SC2046
"$2" -std=c11 "$here/consumer.c" -o "$folder/consumer" $(pkg-config --cflags --libs evener)
[ "$("$folder/consumer")" = "$3" ]
