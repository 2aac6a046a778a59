#!/bin/sh
# Measures evener on this machine's OpenCL devices. Part of a folder that scripts/gpu-check made.
#   ./run [-d CARDS] [-c CPUS] [-o FILE] [STAGE...]
# -d: the devices to check, as for evener's -d, default gpu, or all devices if there is no GPU. -c: what computes together with
# them, default cpu. -o: the result, default gpu-check-HOST.txt. Without stages all run, in at most 8 minutes. TMPDIR needs room
# for the model (1 GB). Nothing is left behind but the result.
here=$(cd "$(dirname "$0")" && pwd)
cards='' cpus=cpu result=gpu-check-$(uname -n).txt
TOTAL_S=480
while getopts d:c:o: option; do
	case $option in
	d) cards=$OPTARG ;;
	c) cpus=$OPTARG ;;
	o) result=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
stages=${*:-machine devices costs rates plan ids ids-q8 bench bench-cpu bench-both selftest}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
began=$(date +%s)
: >"$result" || exit 1

# ---- libraries and drivers ---------------------------------------------------------------------------------------------------

# The libraries that the system lacks, and our ICD loader. The system's own come first, because drivers need them too.
find_libraries() {
	mkdir "$work/lib"
	PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | awk '{ print $1 }' >"$work/libraries"
	for library in "$here"/lib/*; do
		name=${library##*/}
		case $name in libOpenCL.so.1) ;; *) grep -qxF "$name" "$work/libraries" && continue ;; esac
		ln -s "$library" "$work/lib/$name"
	done
	LD_LIBRARY_PATH=$work/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
	export LD_LIBRARY_PATH
	"$here/bin/evener" --version >/dev/null 2>&1 || LD_LIBRARY_PATH=$here/lib:$LD_LIBRARY_PATH
	"$here/bin/evener" --version >/dev/null || {
		echo "evener does not start here; it needs $(cat "$here/glibc") or later and an x86-64 Linux like the one it was built on"
		exit 1
	}
}

# Drivers that are installed but not registered, as in containers, get an ICD file here.
find_drivers() {
	[ -z "${OCL_ICD_VENDORS-}" ] || return 0
	mkdir "$work/vendors"
	cp /etc/OpenCL/vendors/*.icd "$work/vendors/" 2>/dev/null
	for driver in libnvidia-opencl.so.1 libamdocl64.so libigdrcl.so libRusticlOpenCL.so.1 libmali.so.1; do
		cat "$work"/vendors/*.icd 2>/dev/null | grep -qF "${driver%.1}" && continue
		for folder in /usr/lib/x86_64-linux-gnu /usr/lib64 /usr/lib /usr/lib/*/intel-opencl /usr/local/nvidia/lib64 \
			/usr/local/nvidia/lib /usr/lib/wsl/lib /opt/rocm/lib /opt/rocm-*/lib /opt/amdgpu-pro/lib/x86_64-linux-gnu; do
			[ -e "$folder/$driver" ] || continue
			echo "$folder/$driver" >"$work/vendors/${driver%%.*}.icd"
			break
		done
	done
	export OCL_ICD_VENDORS="$work/vendors"
}

# ---- stages ------------------------------------------------------------------------------------------------------------------

evener() { "$here/bin/evener" "$@"; }

say() { printf '%s\n' "$*" | tee -a "$result"; }

# limited SECONDS COMMAND...: a time limit of its own, within that of the whole. What the command prints goes to the result.
limited() {
	limit=$1 left=$((TOTAL_S - $(date +%s) + began))
	shift
	[ "$limit" -le "$left" ] || limit=$left
	if [ "$limit" -lt 3 ]; then
		echo "-- no time left: $*" >>"$result"
		return 1
	fi
	start=$(date +%s)
	echo "\$ $*" | sed "1!d; s|$here/bin/||; s|$work/||g" >>"$result"
	timeout -k 3 "$limit" "$@" >>"$result" 2>&1 </dev/null
	status=$?
	took=$(($(date +%s) - start))
	case $status in
	0) echo "-- ok, $took s" ;;
	124 | 137) echo "-- ended after $took s: no result" ;;
	*) echo "-- failed with status $status, $took s" ;;
	esac >>"$result"
	return "$status"
}

# The model, when the first stage needs it.
need_model() {
	[ -e "$work/model.gguf" ] || gunzip -c "$here/model.gguf.gz" >"$work/model.gguf"
}

# has TYPE: whether there is such a device that is usable.
has() { evener devices 2>/dev/null | awk -v type="$1" '$3 == type && $10 == "yes" { found = 1 } END { exit !found }'; }

machine() {
	limited 10 sh -c 'date -u; uname -srm; grep -m1 "model name" /proc/cpuinfo; nproc; grep MemTotal /proc/meminfo
		cat /proc/loadavg; ldd --version 2>&1 | head -n 1; cat /etc/os-release 2>/dev/null | head -n 1
		for icd in "$OCL_ICD_VENDORS"/*.icd; do echo "$icd: $(cat "$icd")"; done
		for f in /sys/class/drm/card*/device/uevent; do grep -H . "$f"; done 2>/dev/null | grep -E "DRIVER|PCI_ID"
		lspci 2>/dev/null | grep -iE "vga|3d|display"; cat /proc/driver/nvidia/version 2>/dev/null; true'
	command -v nvidia-smi >/dev/null && limited 10 nvidia-smi --format=csv \
		--query-gpu=name,driver_version,memory.total,pcie.link.gen.max,pcie.link.width.max,clocks.max.sm,clocks.max.mem,power.limit
}

devices() {
	limited 60 "$here/bin/evener" devices
	limited 30 "$here/bin/evener" devices --json
}

# on_devices LIMIT TEST...: of bench/device.c, on every GPU, or on every device if there is none; on four at most.
on_devices() {
	most=$1
	shift
	limited 20 "$here/bin/device" && timeout 20 "$here/bin/device" >"$work/list" 2>/dev/null || return
	grep -q '^[0-9]* gpu ' "$work/list" && sed -i '/^[0-9]* other /d' "$work/list"
	head -n 4 "$work/list" | while read -r number _; do
		for test; do
			limited "$most" "$here/bin/device" "$number" "$test"
		done
	done
}

costs() { on_devices 10 info launches transfers spin dot-nvidia dot-amd dot-khr loads; }
rates() { on_devices 20 rates; }

plan() { EVENER_LOG=info limited 120 "$here/bin/evener" plan -m "$work/model.gguf" -d "$cards" -c 1024 --json; }

# compare_ids ARGUMENTS...: the ids of the cards, compared with the reference.
compare_ids() {
	# the text's draws are spread over the vocabulary, so that a wrong logit shows
	limited 90 "$here/bin/evener" run -m "$work/model.gguf" -d "$cards" -c 256 --ignore-eos -q --json -n 16 \
		--temp 2 --top-k 0 --top-p 1 --min-p 0 -s 7 -p 'The capital of France is' "$@" || return
	ids=$(sed -n 's/.*"ids": \[\([^]]*\)\].*/\1/p' "$result" | tail -n 1)
	if [ "$ids" = "$(cat "$here/reference-ids")" ]; then
		say "ids $*: equal to the reference"
	else
		say "ids $*: DIFFER from the reference, $(cat "$here/reference-ids")"
	fi
}

# bench NAME DEVICES ARGUMENTS...
bench() {
	of=$1 list=$2
	shift 2
	if limited 90 "$here/bin/evener" bench -m "$work/model.gguf" -d "$list" -c 1024 --kernels --json -q "$@"; then
		tail -n 2 "$result" | head -n 1 >"$work/bench-$of"
	fi
}

# value FILE NAME: a number of a JSON line.
value() { sed -n "s/.*\"together\"[^}]*\"$2\": \([0-9.]*\).*/\1/p; t; s/.*\"$2\": \([0-9.]*\).*/\1/p" "$1" | head -n 1; }

summary() {
	say
	say "summary"
	read_gbs=$(sed -n 's/^read_gbs //p' "$result" | sort -n | tail -n 1)
	mad=$(sed -n 's/^mad_gflops //p' "$result" | sort -n | tail -n 1)
	say "  fastest read ${read_gbs:--} GB/s, f32 multiply-adds ${mad:--} GFLOP/s"
	for of in cards cpus both; do
		file=$work/bench-$of
		[ -s "$file" ] || continue
		decode=$(value "$file" decode_tok_s)
		say "  $of: prefill $(value "$file" prefill_tok_s) tokens/s, decode $decode tokens/s, weights read" \
			"$(awk -v t="$decode" -v b="$(value "$file" decode_bytes)" 'BEGIN { printf "%.1f", t * b / 1e9 }') GB/s," \
			"all-reduce $(value "$file" all_reduce_us) us"
	done
}

run_stage() {
	case $1 in
	machine | devices | costs | rates) "$1" ;;
	plan) need_model && plan ;;
	ids) need_model && compare_ids --activations f32 ;;
	ids-q8) need_model && compare_ids ;;
	bench) need_model && bench cards "$cards" -p 512 -n 64 -r 3 ;;
	bench-quick) need_model && bench cards "$cards" -p 16 -n 8 -r 1 ;;
	bench-cpu) has_cpus && need_model && bench cpus "$cpus" -p 128 -n 16 -r 2 ;;
	bench-both) has_cpus && need_model && bench both "$cards,$cpus" -p 128 -n 16 -r 2 ;;
	selftest) limited 300 "$here/bin/evener" selftest -d "$cards" ;;
	*) say "$1: no such stage" ;;
	esac
}

has_cpus() {
	[ "$cpus" != cpu ] || has cpu || {
		say "no CPU device: install a driver for it (PoCL) to measure both together"
		return 1
	}
}

find_libraries
find_drivers
: "${EVENER_CACHE_DIR:=$work/cache}" "${POCL_CACHE_DIR:=$work/pocl}" "${CUDA_CACHE_PATH:=$work/nv}" # empty: a first start
export EVENER_CACHE_DIR POCL_CACHE_DIR CUDA_CACHE_PATH
mkdir "$work/cache" "$work/pocl" "$work/nv"
say "gpu-check of evener $(cat "$here/version")"
if [ -z "$cards" ]; then
	cards=gpu
	has gpu || cards=cpu
fi
for stage in $stages; do
	printf '\n==== %s\n' "$stage" >>"$result"
	printf '%s ...\n' "$stage"
	run_stage "$stage"
done
summary
echo "result: $result"
