#!/usr/bin/env bash
# interrupt.sh EVENER REPO - Ctrl-C on a first start, while drivers are probed and while a device is measured: the command
# ends at once, and so do its children. The limit here is one second, for busy machines.
. "$(dirname "$0")/lib.sh"
[ -d "${OCL_ICD_VENDORS-}" ] || skip 'OCL_ICD_VENDORS names no folder'
without rusticl intel
export POCL_CACHE_DIR=$dir/pocl # PoCL compiles everything anew

# processes: the numbers of evener's processes of this test, which have its own cache folder, zombies too
processes() {
	local p
	for p in /proc/[0-9]*; do
		if grep -qzxF "EVENER_CACHE_DIR=$EVENER_CACHE_DIR" "$p/environ" 2>/dev/null &&
			grep -q '^evener' "$p/comm" 2>/dev/null; then
			echo "${p#/proc/}"
		fi
	done
}

# child_does PID WHAT: a child of the process does WHAT. Quick, as a child may live for a tenth of a second.
child_does() {
	local child
	for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do
		tr '\0' ' ' 2>/dev/null <"/proc/$child/cmdline" | grep -q "evener-probe $2" && return
	done
	return 1
}

# interrupts SIGNAL WHAT: sends it to a first start of `evener devices --measure`, once a child does WHAT
interrupts() {
	local signal=$1 what=$2 pid code took began
	export EVENER_CACHE_DIR=$dir/cache-$signal-$what
	mkdir "$EVENER_CACHE_DIR" "$POCL_CACHE_DIR"
	"$evener" devices --measure >out 2>err &
	pid=$!
	for _ in $(seq 2000); do
		child_does "$pid" "$what" && break
		sleep 0.02
	done
	child_does "$pid" "$what" || fail "SIG$signal: no child to $what"
	began=$(date +%s%N)
	kill -s "$signal" "$pid"
	wait "$pid"
	code=$?
	took=$((($(date +%s%N) - began) / 1000000))
	[ "$code" = 130 ] || fail "SIG$signal, $what: exit $code, expected 130"
	[ "$took" -lt 1000 ] || fail "SIG$signal, $what: ended after $took ms"
	[ -z "$(processes)" ] || fail "SIG$signal, $what: left over: $(processes)"
	[ ! -s err ] || fail "SIG$signal, $what: $(cat err)"
	rm -rf "$POCL_CACHE_DIR"
}
for signal in INT TERM HUP; do
	interrupts "$signal" devices
	interrupts "$signal" measure
done

finish
