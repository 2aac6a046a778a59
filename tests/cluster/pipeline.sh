#!/usr/bin/env bash
# pipeline.sh EVENER REPO MPIRUN - nodes that hold different layers give what one process gives: ids of a prompt in pieces on
# two and three nodes of unequal devices and of two drivers, logits to the last bit, perplexity, vectors, several texts
# at once. A node that is silent ends the job. What a pipeline cannot do is refused.
here=$(dirname "$(realpath "$0")")
. "$here/../cli/lib.sh"
. "$here/lib.sh"
without rusticl

pipeline=(--cluster-split pipeline)
prompt=$(yes 'The capital of France is' | head -24)
common=(-m "$model" -c 256)
run=(run "${common[@]}" -n 12 --temp 0 --json -p "$prompt")

# over DEVICE[=SHARES]... -- COMMAND ARGS...: a node for each device list, all with this command
over() {
	local arguments=() devices=() d
	while [ "$1" != -- ]; do devices+=("$1") && shift; done
	shift
	for d in "${devices[@]}"; do
		[ ${#arguments[@]} = 0 ] || arguments+=(:)
		arguments+=(-n 1 "$evener" "$@" "${pipeline[@]}" -d "${d%=*}" --shares "${d#*=}")
	done
	timeout 200 "$mpirun" "${arguments[@]}" </dev/null
}

alone() { "$evener" "$@" -d pocl/1@0 </dev/null; }

ids() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["ids"])' "$1"; }

# same DEVICE=SHARES...: the ids of `run`
same() {
	over "$@" -- "${run[@]}" >out 2>err || fail "$*: exit $? ($(head -c 500 err))"
	[ "$(ids out)" = "$(ids alone)" ] || fail "$*: ids $(ids out), expected $(ids alone)"
}

alone "${run[@]}" >alone 2>err || fail "one process: $(head -c 300 err)"
same pocl/1@0=2 pocl/1@1=1
same pocl/1@0=3 pocl/1@1=2 pocl/1@0=1
same pocl/1@0,pocl/1@1=2,1 pocl/1@1=1
[ ! -e drivers/intel.icd ] || same pocl/1@0=1 intel=1
rm -f drivers/intel.icd

# Each node has layers of its own, all together all of them; the last one has the head.
over pocl/1@0=2 pocl/1@1=1 -- plan "${common[@]}" --json >out 2>err || fail "plan: $(head -c 400 err)"
python3 -c '
import json
a, b = json.load(open("out"))["ranks"]
assert a["layers"][0] == 0 and 15 < a["layers"][1] == b["layers"][0] and b["layers"][1] == 30, (a["layers"], b["layers"])
assert a["vocab"] == [0, 0] and b["vocab"] == [0, 49152], (a["vocab"], b["vocab"])
assert abs(a["bytes"] - b["bytes"]) < 0.7 * max(a["bytes"], b["bytes"])' 2>why || fail "plan: $(tail -1 why)"

# every DEVICE=SHARES... -- COMMAND...: stdout is that of one process
every() {
	local i=1
	while [ "${!i}" != -- ]; do i=$((i + 1)); done
	alone "${@:i+1}" >alone.txt 2>err || fail "${*:i+1}: one process: $(head -c 300 err)"
	over "$@" >nodes.txt 2>err || fail "${*:i+1}: exit $? ($(head -c 400 err))"
	cmp -s alone.txt nodes.txt || fail "${*:i+1}: expected $(head -c 300 alone.txt), found $(head -c 300 nodes.txt)"
}
every pocl/1@0=1 pocl/1@1=1 -- logits "${common[@]}" -p "$prompt" --json
printf 'Name a colour.\nAnother one, please: a very bright one.\nOne two three four five\n' >lines
every pocl/1@0=1 pocl/1@1=1 -- embed "${common[@]}" -f lines
batch=(batch "${common[@]}" -f lines --cut lines --piece-tokens 0 --raw -n 8 --temp 0 -q -o)
alone "${batch[@]}" alone.txt 2>err || fail "batch: one process: $(head -c 300 err)"
over pocl/1@0=1 pocl/1@1=1 -- "${batch[@]}" nodes.txt 2>err || fail "batch: exit $? ($(head -c 400 err))"
cmp -s alone.txt nodes.txt || fail "batch: expected $(head -c 300 alone.txt), found $(head -c 300 nodes.txt)"

for i in $(seq 40); do echo "line $((i * 7919 % 997)) of a text, word $((i % 13))"; done >text
value() { python3 -c 'import json, sys; print(repr(json.load(open(sys.argv[1]))["perplexity"]))' "$1"; }
alone score "${common[@]}" -f text --json >alone.json 2>err || fail "score: $(head -c 300 err)"
over pocl/1@0=1 pocl/1@1=2 -- score "${common[@]}" -f text --json >nodes.json 2>err || fail "score: $(head -c 400 err)"
[ "$(value alone.json)" = "$(value nodes.json)" ] || fail "score: $(value nodes.json), expected $(value alone.json)"

rm -f out err
# silent: node 1 stops answering while node 0 decodes
timeout 150 "$mpirun" -n 1 "${noted[@]}" 0 "$evener" run -m "$model" -c 512 -n 500 --ignore-eos -p x -d pocl/1@0 "${pipeline[@]}" : \
	-n 1 "${noted[@]}" 1 "$evener" run -m "$model" -c 512 -d pocl/1@1 "${pipeline[@]}" >out 2>err </dev/null &
launcher=$!
within 50 at decode || fail "a silent node: nothing is decoded: $(head -c 400 err)"
kill -STOP "$(cat pid1)"
within 10 ended 0 || fail 'a silent node: node 0 waits for it longer than 10 s'
grep -q '^evener: node 0 (.*): node 1 (.*) is lost: ' err || fail "a silent node is not named in $(head -c 600 err)"
wait "$launcher" && fail "a silent node: the job did not fail"
within 3 ended 1 || fail "a silent node: its process is left"

for i in $(seq 300); do echo "line $((i * 7919 % 997)) of the text that is learned here, word $((i % 13))"; done >text
over pocl/1@0=1 pocl/1@1=1 -- train --arch llama --layers 2 --dim 64 --heads 4 --kv-heads 2 --ff 128 --vocab 257 --data text \
	-c 32 --steps 1 -o out.gguf >out 2>err && fail 'train: not refused'
grep -q '^evener: .*cluster-split: expected tensor or auto for training, found pipeline' err || fail "train: $(head -c 400 err)"
finish
