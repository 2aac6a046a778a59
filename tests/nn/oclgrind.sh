#!/usr/bin/env bash
# Every kernel on tiny shapes under the interpreter Oclgrind, which must find no race, uninitialised read, overrun or
# wrong API call. GEMM is CLBlast's own and stays out.   oclgrind.sh TEST_KERNELS KERNELS
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
# Oclgrind 21.10 takes the operand that a shuffle leaves unused for uninitialised data: here the one function that
# shuffles goes lane by lane. Optimised code has more such shuffles, and some make Oclgrind crash.
sed -i '/^inline float sum16/,/^}/c\inline float sum16(float16 v) { return v.s0 + v.s1 + v.s2 + v.s3 + v.s4 + v.s5 + v.s6 + v.s7 + v.s8 + v.s9 + v.sa + v.sb + v.sc + v.sd + v.se + v.sf; }' "$folder/kernels/common.cl"
export OCL_ICD_VENDORS=$folder/vendors EVENER_CACHE_DIR=$folder/cache EVENER_KERNEL_DIR=$folder/kernels
export OCLGRIND_BUILD_OPTIONS=-cl-opt-disable OCLGRIND_NUM_THREADS=1
export OCLGRIND_DATA_RACES=1 OCLGRIND_UNINITIALIZED=1 OCLGRIND_CHECK_API=1
"$1" --tiny >"$folder/log" 2>&1
status=$?
if grep -qE 'Kernel:|runtime error' "$folder/log"; then
	echo "Oclgrind reports:"
	head -n 80 "$folder/log"
	exit 1
fi
cat "$folder/log"
exit "$status"
