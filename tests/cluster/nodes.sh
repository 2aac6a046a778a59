#!/usr/bin/env bash
# nodes.sh EVENER REPO MPIRUN|none - processes of one job share a model: the ids are those of one process with the same
# devices and shares, nodes that differ are refused by name, and the job ends if one of them is silent. A build without MPI
# (none) refuses to be one of several processes.
here=$(dirname "$(realpath "$0")")
. "$here/../cli/lib.sh"
. "$here/lib.sh"

if [ "$mpirun" = none ]; then
	export PMI_SIZE=2
	refuse 1 'this build has no MPI' run -m "$model" -p x
	finish
fi
without rusticl intel

common=(-m "$model" -c 256 -n 8 --temp 0 --json)

# job NODE0-ARGS : NODE1-ARGS : ...: one job with a process for each list of arguments of `run`
job() {
	local arguments=(-n 1 "$evener" run "${common[@]}") a
	for a; do
		if [ "$a" = : ]; then
			arguments+=(: -n 1 "$evener" run "${common[@]}")
		else
			arguments+=("$a")
		fi
	done
	timeout 200 "$mpirun" "${arguments[@]}" >out 2>err </dev/null
}

# ids FILE: the ids that a run printed
ids() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["ids"])' "$1"; }

# same DEVICES SHARES: ids of one process and of one for each device
same() {
	local devices shares nodes=() i
	IFS=, read -ra devices <<<"$1"
	IFS=, read -ra shares <<<"$2"
	"$evener" run "${common[@]}" -p 'The capital of France is' -d "$1" --shares "$2" >alone 2>err </dev/null ||
		fail "one process: $(head -c 300 err)"
	for i in "${!devices[@]}"; do
		[ "$i" = 0 ] || nodes+=(:)
		nodes+=(-d "${devices[i]}" --shares "${shares[i]}" -p 'The capital of France is')
	done
	job "${nodes[@]}" || fail "$1 as nodes: exit $? ($(head -c 500 err))"
	[ "$(ids out)" = "$(ids alone)" ] || fail "$1 as nodes: ids $(ids out), expected $(ids alone)"
	python3 -c "
import json, sys
d = json.load(open('out'))
sys.exit([r['node'][0] for r in d['stats']['ranks']] != list('0123')[:${#devices[@]}])" || fail "$1: nodes are not named in $(head -c 500 out)"
}

# differs TEXT NODE1-ARGS: the job is refused with this text
differs() {
	local text=$1
	shift
	job -d pocl/1@0 -p x : -d pocl/1@1 "$@" && fail "$*: not refused"
	grep -qF "evener: node 1 (" err || fail "$*: node 1 is not named in $(head -c 400 err)"
	grep -qF "$text" err || fail "$*: '$text' is not in $(head -c 400 err)"
	[ "$(grep -c '^evener: ' err)" = 1 ] || fail "$*: expected one line, found $(grep '^evener: ' err)"
}

# silent: node 1 stops answering while it decodes, as if its cable were cut. Node 0 names it and ends.
silent() {
	local launcher
	timeout 150 "$mpirun" -n 1 "${noted[@]}" 0 "$evener" run -m "$model" -c 512 -n 500 --ignore-eos -p x -d pocl/1@0 : \
		-n 1 "${noted[@]}" 1 "$evener" run -m "$model" -c 512 -d pocl/1@1 >out 2>err </dev/null &
	launcher=$!
	within 50 at decode || fail "a silent node: nothing is decoded: $(head -c 400 err)"
	kill -STOP "$(cat pid1)"
	within 10 ended 0 || fail 'a silent node: node 0 waits for it longer than 10 s'
	grep -q '^evener: node 0 (.*): node 1 (.*) is lost: ' err || fail "a silent node is not named in $(head -c 600 err)"
	wait "$launcher" && fail "a silent node: the job did not fail"
	within 3 ended 1 || fail "a silent node: its process is left"
}

same pocl/1@0,pocl/1@1 2,1
same pocl/1@0,pocl/1@1,pocl/1@0 3,2,1
differs 'context: expected 256 as on node 0, found 128' -c 128
differs 'model: expected that of node 0' -m "${EVENER_TEST_MODEL_F32-}"
differs 'matches no device' -d nothing
silent
finish
