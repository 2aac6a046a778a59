#!/usr/bin/env bash
# train.sh EVENER REPO MPIRUN - training over nodes writes the file of one process, to the bit, a new model and an adapter.
# Whatever node is killed, --resume goes on from the last checkpoint, to the same file.
here=$(dirname "$(realpath "$0")")
. "$here/../cli/lib.sh"
. "$here/lib.sh"
without rusticl intel

for i in $(seq 300); do echo "line $((i * 7919 % 997)) of the text that is learned here, word $((i % 13))"; done >text
learn=(--data text -c 32 --sequences 4 --steps 12 --save-every 2 --json)
small=(--arch llama --layers 2 --dim 64 --heads 4 --kv-heads 2 --ff 128 --vocab 257)

# over ARGS...: on two nodes; only node 0 has the text and the files
over() {
	"$mpirun" -n 1 "${noted[@]}" 0 "$evener" train "$@" "${learn[@]}" -d pocl/1@0 --shares 2 : \
		-n 1 "${noted[@]}" 1 "$evener" train "$@" "${learn[@]}" --data absent -o follower.gguf -d pocl/1@1 --shares 1
}

same() { cmp -s alone.gguf out.gguf || fail "$1: another file than that of one process ($(tail -c 400 err))"; }

"$evener" train "${small[@]}" "${learn[@]}" -o alone.gguf -d pocl/1@0,pocl/1@1 --shares 2,1 >out 2>err </dev/null ||
	fail "one process: $(head -c 400 err)"
over "${small[@]}" -o out.gguf >out 2>err </dev/null || fail "nodes: exit $? ($(head -c 400 err))"
same nodes
[ ! -e follower.gguf ] || fail "node 1 wrote a file"

# saved: two checkpoints of this run are there
saved() { grep -q '"step": 5' out; }
for victim in 0 1; do
	rm -f out out.gguf pid0 pid1
	over "${small[@]}" -o out.gguf >out 2>err </dev/null &
	job=$!
	within 60 saved || fail "node $victim: no steps: $(head -c 400 err)"
	kill -9 "$(cat "pid$victim")"
	within 10 ended 0 1 || fail "node $victim killed: a process is left after 10 s"
	wait "$job" && fail "node $victim killed: the job did not fail"
	over "${small[@]}" -o out.gguf --resume >out 2>err </dev/null || fail "resumed: exit $? ($(head -c 400 err))"
	same "node $victim killed, resumed"
done

rm -f out.gguf
mv alone.gguf base.gguf
"$evener" train -m base.gguf --lora-rank 4 "${learn[@]}" -o alone.gguf -d pocl/1@0,pocl/1@1 --shares 2,1 >out 2>err </dev/null ||
	fail "an adapter, one process: $(head -c 400 err)"
over -m base.gguf --lora-rank 4 -o out.gguf >out 2>err </dev/null || fail "an adapter: exit $? ($(head -c 400 err))"
same 'an adapter'
finish
