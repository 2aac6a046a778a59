#!/usr/bin/env bash
# picture.sh EVENER REPO - configs/simple-lm.yaml as a user runs it: its logits, its picture, and pictures that fail.
. "$(dirname "$0")/lib.sh"
without rusticl intel
config=$repo/configs/simple-lm.yaml

# logits FILE ARGS...: the printed logits.
logits() {
	local to=$1
	shift
	"$evener" logits "$config" "$@" >"$to" 2>err </dev/null || fail "logits $*: exit $? ($(head -c 300 err))"
	[ ! -s err ] || fail "logits $*: something on stderr: $(head -c 300 err)"
}

"$evener" devices -q 2>/dev/null | grep -q 0:0 || skip 'no OpenCL device'
"$evener" logits "$config" >/dev/null 2>&1 # measures where nothing is known yet

logits two --image two.png
[ "$(wc -l <two)" = 10 ] && [ "$(wc -w <two)" = 100 ] || fail "not 10 times 10 logits: $(head -c 300 two)"
[ "$(od -An -tx1 -N8 two.png | tr -d ' ')" = 89504e470d0a1a0a ] || fail 'two.png is no PNG file'
[ "$(od -An -tu1 -j16 -N8 two.png | tr -s ' ')" = ' 0 0 4 176 0 0 2 238' ] || fail 'two.png is not 1200 x 750'
logits one -d 0:0
cmp -s one two || fail 'one rank and two ranks differ'
logits other --init-seed 2
cmp -s other two && fail 'another seed gives the same logits'
logits ids --ids 3,3
[ "$(wc -l <ids)" = 2 ] && [ "$(sort -u ids | wc -l)" = 1 ] || fail 'the same id twice gives two different rows'
logits json --json --image /dev/null
python3 -c '
import json, sys
d = json.load(open("json"))
sys.exit(not (len(d["ids"]) == len(d["logits"]) == 10 and all(0 <= i < 10 for i in d["ids"])))' || fail 'JSON is not as said'

tells 1 'nowhere/p.png: could not write' logits "$config" --image nowhere/p.png
tells 1 'No space left on device' logits "$config" --image /dev/full
refuse 2 'token id 10' logits "$config" --ids 10
refuse 2 'architecture "lm" cannot be made: expected simple-lm, gpt2 or llama' logits "$config" --architecture lm
refuse 2 'with dim 0' logits "$config" --dim 0
refuse 1 'nosuch.gguf' logits "$config" -m nosuch.gguf
cat >both.yaml <<'YAML'
version: 1
model: {path: a.gguf, architecture: simple-lm, vocab: 10, dim: 5}
YAML
refuse 2 'not both' logits both.yaml
"$evener" config check "$config" >out 2>&1 || fail "config check: $(cat out)"

finish
