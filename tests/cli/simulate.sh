#!/usr/bin/env bash
# simulate.sh EVENER REPO - clusters that need not exist: the shapes of configs/cluster over 10,000 devices within 10 s,
# the rule of thumb for two nodes, pictures, and what is wrong.
. "$(dirname "$0")/lib.sh"
llama=$repo/configs/cluster/llama-8b.yaml
ethernet=$repo/configs/cluster/ethernet.yaml

# value FILE EXPRESSION: of the object d in the file
value() { python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); c = {x["cut"]: x for x in d["cuts"]}; print(eval(sys.argv[2]))' "$@"; }

# holds EXPRESSION ABOUT...
holds() {
	[ "$(value out "$1")" = True ] || fail "${*:2}: not $1: $(head -c 600 out)"
}

for file in "$repo"/configs/cluster/llama-*.yaml; do
	"$evener" config check "$file" >out 2>err || fail "config check: $(cat err)"
	sed 's/count: 16/count: 1000/; s/name: gpu,/name: gpu, count: 9,/; s/^texts: 1/texts: 64/' "$ethernet" >large.yaml
	"$evener" plan "$file" --simulate large.yaml --json >out 2>err || fail "$file: $(cat err)"
	holds 'd["seconds"] < 10' "$file over 10,000 devices"
	holds 'c["replica"]["together_tok_s"] > 5 * c["one node"]["together_tok_s"]' "$file"
done

# two equal nodes: half of a token's time alone is 8.6 ms, 64 exchanges are 6.4 ms or 10 ms
for latency in 100 160; do
	cat >two.yaml <<-END
		version: 1
		link: {latency_us: $latency, gbit_s: 10000, message_us: 0}
		nodes:
		  - {name: n, count: 2, devices: [{name: d, memory: 64GiB, gbs: 250, gflops: 1e6}]}
	END
	"$evener" plan "$llama" --simulate two.yaml --json >out 2>err || fail "two nodes: $(cat err)"
	holds "d['best'] == '$([ $latency = 100 ] && echo tensor || echo one node)'" "two nodes, $latency us"
done

"$evener" plan "$llama" --simulate "$ethernet" --image cuts.svg >out 2>err || fail "a table: $(cat err)"
grep -q '^best ' out || fail "a table: $(cat out)"
grep -q '<svg' cuts.svg || fail 'no SVG'

refuse 2 "nodes: expected a list" plan "$llama" --simulate <(printf 'version: 1\nnodes: 3\n')
refuse 1 'nowhere.yaml' plan "$llama" --simulate nowhere.yaml
refuse 2 "plan: no model" plan --simulate "$ethernet"
refuse 2 'give --simulate CLUSTER' plan "$llama" --image x.png
refuse 2 'only plan --simulate takes others' plan "$llama"
refuse 2 "format: expected one of weights, such as Q4_0, found 'Q4'" plan "$llama" --format Q4 --simulate "$ethernet"
sed 's/memory: .*GiB/memory: 1GiB/' "$ethernet" >small.yaml
refuse 1 'not enough device memory: weights and KV cache need' plan "$repo/configs/cluster/llama-70b.yaml" --simulate small.yaml
finish
