#!/usr/bin/env bash
# predicted.sh EVENER REPO MPIRUN - the simulator against what is measured, for two nodes: on one machine, and in network
# namespaces with delays and rates of `tc netem` where the kernel has them. The speeds of the nodes by themselves and
# one exchange without a delay are measured; the speed of both nodes is predicted for each link, and then measured. It
# must be within 15 %. Nothing else may run at the same time: a busy machine skips this test.
here=$(dirname "$(realpath "$0")")
. "$here/../cli/lib.sh"
. "$here/lib.sh"
without rusticl intel
read -r busy _ </proc/loadavg
[ -n "${EVENER_BUSY-}" ] || python3 -c "import sys; sys.exit($busy > 0.7)" || skip "the machine is busy (load $busy)"

devices=(pocl/1@0 pocl/1@1)
common=(-m "$model" -c 512 --json)
decode=(run -p 'Once upon a time' -n 64 --temp 0 --ignore-eos)

# number FILE EXPRESSION: of the object d in the file
number() { python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$@"; }

# both OUT ARGS...: evener with these arguments as two nodes
both() {
	local i arguments=()
	for i in 0 1; do node "$i" "$evener" "${@:2}" "${common[@]}" -d "${devices[i]}"; done
	start >"$1" 2>err || fail "${*:2}: $(head -c 400 err)"
}

# Both nodes by themselves, at the same time, because they share the machine's memory.
apart() {
	local i
	for i in 0 1; do
		"$evener" "${decode[@]}" "${common[@]}" -d "${devices[i]}" >"apart$i.$1" 2>"err$i" </dev/null &
	done
	wait
}

# median NAME: tokens/s of its three rounds
median() {
	python3 -c '
import json, statistics, sys
runs = [json.load(open(f"{sys.argv[1]}.{r}"))["stats"] for r in (1, 2, 3)]
print(statistics.median(s["decode_tok_s"] for s in runs))' "$1"
}

# gbs NODE: at which a node without fixed costs would decode as it did by itself
gbs() { number "plan$1" "d['ranks'][0]['gemv_gbs'] * $(median "apart$1") / d['predicted']['decode_tok_s']"; }

device() {
	echo "devices: [{name: d, memory: 8GiB, gbs: $(gbs "$1"), gflops: $(number "plan$1" "d['ranks'][0]['gemm_gflops']")}]"
}

# compare NAME DELAY_US GBIT: the link has an exchange of $exchange us and this delay
compare() {
	local round predicted measured
	for round in 1 2 3; do
		apart "$round"
		both "together.$round" "${decode[@]}"
	done
	[ "$failures" = 0 ] || finish
	cat >cluster.yaml <<-END
		version: 1
		link: {latency_us: $(python3 -c "print($exchange + $2)"), gbit_s: $3}
		nodes:
		  - {name: a, $(device 0)}
		  - {name: b, $(device 1)}
	END
	"$evener" plan "${common[@]}" --simulate cluster.yaml >simulated 2>err || fail "simulate: $(cat err)"
	predicted=$(number simulated "next(c for c in d['cuts'] if c['cut'] == 'tensor')['decode_tok_s']")
	measured=$(median together)
	echo "$1: apart $(median apart0) and $(median apart1), together predicted $predicted, measured $measured tokens/s"
	python3 -c "import sys; sys.exit(not 0.85 <= $predicted / $measured <= 1.15)" ||
		fail "$1: predicted $predicted, measured $measured tokens/s"
}

# link NETEM...: both cables
link() {
	local i
	for i in 0 1; do
		ip netns exec "evn$$-$i" tc qdisc replace dev eth0 root netem "$@" 2>/dev/null && continue
		echo 'the kernel has no netem: links with delays are not compared'
		finish
	done
}

for i in 0 1; do
	"$evener" plan "${common[@]}" -d "${devices[i]}" >"plan$i" 2>err </dev/null || fail "plan: $(head -c 400 err)"
done

start() { timeout 250 "$mpirun" "${arguments[@]}" </dev/null; }
node() {
	[ "$1" = 0 ] || arguments+=(:)
	arguments+=(-n 1 "${@:2}")
}
both exchanged plan
exchange=$(number exchanged "d['all_reduce_us']")
compare 'one machine' 0 1000

[ "$failures" = 0 ] || finish # a skip would hide it
. "$here/networks.sh" # its own start and node
networks 2
both exchanged plan
exchange=$(number exchanged "d['all_reduce_us']")
compare 'two namespaces' 0 1000
link delay 100us
compare '100 us' 100 1000
link delay 1ms
compare '1 ms' 1000 1000
link delay 100us rate 1gbit
compare '100 us, 1 Gbit/s' 100 1
finish
