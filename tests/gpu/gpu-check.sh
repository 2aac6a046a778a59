#!/usr/bin/env bash
# gpu-check.sh EVENER REPO - scripts/gpu-check makes a folder that has all it needs; its `run` measures PoCL as if it were a
# card, finds the reference's ids, says what it could not do, and goes on after a stage that failed.
. "$(dirname "$0")/../cli/lib.sh"
need_model
without rusticl intel mesa
for tool in python3 objdump strip timeout; do
	command -v $tool >/dev/null || skip "no $tool"
done
"$repo/scripts/gpu-check" --build "$(dirname "$evener")" --shape tiny "$dir/check" >made 2>&1 || fail "not made: $(cat made)"
for file in bin/evener bin/evener-probe bin/device lib/libOpenCL.so.1 lib/libclblast.so.1 model.gguf.gz reference-ids run version; do
	[ -s "check/$file" ] || fail "the folder has no $file"
done
[ ! -e check/lib/libc.so.6 ] || fail 'the folder has glibc'
[ -s check.tar.gz ] || fail 'no archive'

TMPDIR=$dir ./check/run -d pocl -c pocl -o result machine devices costs ids nonsense >shown || fail "run: exit $?"
# says TEXT...: lines of the result that begin so
says() {
	local text
	for text; do
		grep -q "^$text" result || fail "the result has no '$text'"
	done
}
says 'gpu-check of evener ' 'Linux ' '0:0  pocl ' 'compute_units ' 'plain_enqueue_us [0-9.]' 'profiling_run_us [0-9.]' \
	'device_write_16384_us [0-9.]' 'pinned_map_to_read_524288_us [0-9.]' 'device_look_ns [0-9.]' 'accepted 0' \
	'ids --activations f32: equal to the reference' 'nonsense: no such stage' 'summary'
[ -z "$(find . -maxdepth 1 -name 'tmp.*')" ] || fail "left behind: $(ls)"

./check/run -d none -o failed ids devices >shown || fail "run: exit $?"
grep -q '^-- failed with status' failed || fail 'a device list that names nothing did not fail'
grep -q '^0:0  pocl ' failed || fail 'nothing was run behind the failure'
finish
