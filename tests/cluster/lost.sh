#!/usr/bin/env bash
# lost.sh EVENER REPO MPIRUN - whatever process of a job is killed, and whenever, the job ends within 10 s, a line names
# the node, and no process is left. The same if a cable is cut, between network namespaces as machines.
here=$(dirname "$(realpath "$0")")
. "$here/../cli/lib.sh"
. "$here/lib.sh"
. "$here/networks.sh"
without rusticl intel

# of NODE: its command
of() {
	local prompt=x
	[ "$stage" != prefill ] || prompt=$(yes 'The capital of France is' | head -150)
	command=("$evener" run -m "$model" -c 1024 -d "pocl/1@$1")
	[ "$1" != 0 ] || command+=(-n 900 --ignore-eos -p "$prompt")
}

# killed NODE STAGE
killed() {
	local job stage=$2 began
	rm -f out err pid0 pid1
	of 0
	arguments=(-n 1 "${noted[@]}" 0 "${command[@]}" :)
	of 1
	"$mpirun" "${arguments[@]}" -n 1 "${noted[@]}" 1 "${command[@]}" >out 2>err </dev/null &
	job=$!
	within 60 at "$2" || fail "$2: the job did not come so far: $(head -c 400 err)"
	began=$SECONDS
	kill -9 "$(cat "pid$1")"
	wait "$job" && fail "node $1 killed at $2: the job did not fail"
	((SECONDS - began <= 10)) || fail "node $1 killed at $2: the job took $((SECONDS - began)) s to end"
	grep -qiE "rank $1|RUNNING AT|node $1 \(.*\) is lost" out err || fail "node $1 killed at $2: not named in $(head -c 600 err)"
	within 3 ended 0 1 || fail "node $1 killed at $2: a process is left"
}

# cut_off STAGE: the cable of node 1 is cut. Open MPI's mpirun, with the settings of networks.sh, may notice first. That
# of MPICH does not notice.
cut_off() {
	local stage=$1 job
	rm -f out err pid0 pid1
	of 0
	node 0 "${command[@]}"
	of 1
	node 1 "${command[@]}"
	start >out 2>err &
	job=$!
	within 60 at "$1" || fail "$1: the job did not come so far: $(head -c 400 err)"
	cut_cable 1
	within 10 ended 0 1 || fail "cable cut at $1: a process is left after 10 s"
	grep -qE '^evener: node 0 \(machine0\): node 1 \(machine1\) is lost: |Remote daemon:.* on node 10.77.0.2$' err ||
		fail "cable cut at $1: $(head -c 600 err)"
	[ "$on" = open ] || kill "$job"
	wait "$job" && fail "cable cut at $1: the job did not fail"
	ip -n "evn$$-bridge" link set to1 up
}

for stage in load prefill decode; do
	killed 0 $stage
	killed 1 $stage
done
networks 2
cut_off load
cut_off decode
finish
