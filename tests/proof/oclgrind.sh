#!/usr/bin/env bash
# Runs every kernel on tiny shapes under the interpreter Oclgrind, which must find no race, uninitialised read, overrun or
# wrong API call. GEMM belongs to CLBlast and is left out.   oclgrind.sh TEST_KERNELS KERNELS [LANES]
set -u
library=$(ls /usr/lib/oclgrind/liboclgrind-rt-icd.so /usr/lib/*/oclgrind/liboclgrind-rt-icd.so \
	/usr/local/lib/liboclgrind-rt-icd.so 2>/dev/null | head -n 1)
if [ -z "$library" ]; then
	echo "skipped: Oclgrind is not installed"
	exit 77
fi
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/vendors"
echo "$library" >"$folder/vendors/oclgrind.icd"
cp -r "$2" "$folder/kernels"
# Oclgrind 21.10 reports the unused operand of a shuffle as uninitialised data. The functions that shuffle are therefore
# replaced by versions that go element by element. Optimised code has more such shuffles, and some make Oclgrind crash.
lane_by_lane() { # TYPE NAME STEP: a function of 16 lanes of a type, as STEP for each lane after the first
	body=
	for lane in 1 2 3 4 5 6 7 8 9 a b c d e f; do body="$body $(printf "$3" $lane)"; done
	sed -i "/^INLINE $1 $2(/,/^}/c\\INLINE $1 $2(${1}16 v) { $1 x = v.s0; $body return x; }" "$folder/kernels/common.cl"
}
lane_by_lane float sum16 "x += v.s%s;"
lane_by_lane float max16 "x = fmax(x, v.s%s);"
lane_by_lane int sum16_int "x += v.s%s;"
lane_by_lane uint max16_uint "x = max(x, v.s%s);"
# Forced inlining uses an intrinsic that Oclgrind 21.10 does not know.
sed -i 's/^#define INLINE .*/#define INLINE inline/' "$folder/kernels/common.cl"
export OCL_ICD_VENDORS=$folder/vendors EVENER_CACHE_DIR=$folder/cache EVENER_KERNEL_DIR=$folder/kernels
export OCLGRIND_BUILD_OPTIONS=-cl-opt-disable OCLGRIND_NUM_THREADS=1
export OCLGRIND_DATA_RACES=1 OCLGRIND_UNINITIALIZED=1 OCLGRIND_CHECK_API=1
"$1" --tiny ${3+"$3"} >"$folder/log" 2>&1
status=$?
if grep -qE 'Kernel:|runtime error' "$folder/log"; then
	echo "Oclgrind reports:"
	head -n 80 "$folder/log"
	exit 1
fi
cat "$folder/log"
exit "$status"
