#!/usr/bin/env bash
# evener train: a tiny model learns, stops, resumes to the same bits, changes its split. Every failure is one line and
# leaves the old files.
#   train.sh EVENER REPO
. "$(dirname "$0")/lib.sh"
platforms=$("$evener" devices --json | grep -c '"pocl"')
[ "$platforms" -gt 0 ] || {
	[ "${CI-}" = true ] && exit 1
	skip 'no device of PoCL'
}
without rusticl intel
text=$repo/tests/data/persuasion-20k.txt
cat >tiny.yaml <<END
version: 1
model: {architecture: llama, vocab: 257, layers: 2, dim: 48, heads: 3, kv_heads: 1, ff: 96, context: 32}
train: {data: $text, output: tiny.gguf, steps: 30, sequences: 4, warmup: 2, eval_every: 0, save_every: 5, held_out: 0.01}
END
train=("$evener" train tiny.yaml -d pocl)

"${train[@]}" --json >whole.json 2>err || fail "$(cat err)"
[ "$(wc -l <whole.json)" = 30 ] || fail "not a line for each step"
tail -1 whole.json | grep -q '"step": 30' || fail "last line: $(tail -1 whole.json)"
tail -1 whole.json | grep -q '"val_loss": null' && fail "no held-out loss at the end"
[ -e tiny.gguf.checkpoint ] && fail "a finished run leaves a checkpoint"
"$evener" run -m tiny.gguf -d pocl -p 'The ' -n 8 --temp 0 -q >text || fail "run does not load the model"

# killed some steps after the seventh, because nobody reads its output: the rest of the run has the same losses and weights
"${train[@]}" --output again.gguf --json 2>/dev/null | head -7 >/dev/null
[ -e again.gguf.checkpoint ] || fail "no checkpoint after a kill"
refuse 2 'left from a run that ended after step' train tiny.yaml -d pocl --output again.gguf
"${train[@]}" --output again.gguf --resume --json >rest.json 2>err || fail "resume: $(cat err)"
losses() { sed 's/.*"loss": \([^,]*\),.*/\1/' "$1"; }
[ "$(losses rest.json | tail -2)" = "$(losses whole.json | tail -2)" ] || fail "resumed losses differ"
cmp -s tiny.gguf again.gguf || fail "the resumed model has other bits"

# the rest of a run on another split: nearly the same losses
"${train[@]}" --output other.gguf --json 2>/dev/null | head -7 >/dev/null
"$evener" train tiny.yaml -d pocl,pocl --shares 2,1 --output other.gguf --resume --json >split.json 2>err ||
	fail "split: $(cat err)"
paste <(losses split.json | tail -1) <(losses whole.json | tail -1) |
	awk '{d = $1 - $2; if (d < 0) d = -d; exit !(d < 1e-3)}' || fail "losses after a change of split: $(tail -1 split.json)"

# 200 steps on one rank and on three of unequal shares
for cut in pocl 'pocl,pocl,pocl --shares 3,1,2'; do
	# shellcheck disable=SC2086
	"$evener" train tiny.yaml -d $cut --output curve.gguf --steps 200 --save-every 0 --json 2>err >"curve${cut//[^0-9]/}.json" ||
		fail "curve: $(cat err)"
done
[ "$(paste <(losses curve.json) <(losses curve312.json) | awk 'NF == 2 {d = $1 - $2; if (d < 1e-3 && d > -1e-3) n++} END {print n}')" = 200 ] ||
	fail "loss curves of one and three ranks part"

# GPT-2 with dropout: resumed to the same bits, on three ranks nearly the same losses, tested without dropout
sed 's/llama/gpt2/; s/ kv_heads: 1,//; s/steps: 30/dropout: 0.2, steps: 30/; s/tiny.gguf/gpt2.gguf/' tiny.yaml >gpt2.yaml
gpt2=("$evener" train gpt2.yaml -d pocl)
"${gpt2[@]}" --json >gpt2.json 2>err || fail "gpt2: $(cat err)"
"${gpt2[@]}" --output gpt2-again.gguf --json 2>/dev/null | head -7 >/dev/null
[ -e gpt2-again.gguf.checkpoint ] || fail "gpt2: no checkpoint after a kill"
"${gpt2[@]}" --output gpt2-again.gguf --resume -q >out 2>err || fail "gpt2, resume: $(cat err)"
cmp -s gpt2.gguf gpt2-again.gguf || fail "gpt2: the resumed model has other bits"
"$evener" train gpt2.yaml -d pocl,pocl,pocl --shares 3,1,2 --output gpt2-cut.gguf --json >gpt2-cut.json 2>err ||
	fail "gpt2 on three ranks: $(cat err)"
"${gpt2[@]}" --output gpt2-whole.gguf --dropout 0 --json >gpt2-whole.json 2>err || fail "gpt2 without dropout: $(cat err)"
[ "$(paste <(losses gpt2.json) <(losses gpt2-cut.json) | awk 'NF == 2 {d = $1 - $2; if (d < 1e-3 && d > -1e-3) n++} END {print n}')" = 30 ] ||
	fail "gpt2: loss curves of one and three ranks part"
[ "$(head -1 gpt2.json)" = "$(head -1 gpt2-whole.json)" ] && fail "dropout changes nothing"
"$evener" run -m gpt2.gguf -d pocl -p 'The ' -n 8 --temp 0 -q >text 2>err || fail "run does not load gpt2: $(cat err)"
# one more step with a rate of 0: this tests the model without dropout, whatever it was trained with
for fraction in 0 0.5; do
	"$evener" train -m gpt2.gguf -d pocl --data "$text" -o still.gguf -c 32 --steps 1 --warmup 0 --learning-rate 0 --min-rate 0 \
		--held-out 0.01 --dropout $fraction --json 2>err | sed 's/.*"val_loss": \([^,]*\),.*/\1/' >"still$fraction"
	[ -s "still$fraction" ] || fail "gpt2, a step that changes nothing: $(cat err)"
done
cmp -s still0 still0.5 || fail "the held-out text is tested with dropout"
refuse 2 'has learned 32 positions' train -m gpt2.gguf -d pocl --data "$text" -o x.gguf -c 64
refuse 2 'LoRA target "attn_q" is not a matrix' train -m gpt2.gguf -d pocl --data "$text" -o x.gguf --lora-rank 4 -c 32

# the example without layers learns its sequence, over two ranks
"$evener" train "$repo/configs/simple-lm.yaml" -o simple.gguf >out 2>err || fail "simple-lm: $(cat err)"
grep -q 'the sequence is predicted' out || fail "simple-lm: $(cat out)"
next=$("$evener" logits -m simple.gguf --ids 3,1,4,5,9,2,6,8,7 -q |
	awk '{most = 1; for (i = 2; i <= NF; i++) if ($i > $most) most = i; printf "%d ", most - 1}')
[ "$next" = "1 4 5 9 2 6 8 7 0 " ] || fail "simple-lm predicts $next"
refuse 2 '2 at least' train "$repo/configs/simple-lm.yaml" --ids 5 -o x.gguf
refuse 2 'token id 10' train "$repo/configs/simple-lm.yaml" --ids 5,10 -o x.gguf

# an adapter for the tiny model changes its output; with scale 0 it does not; an adapter of another model is refused
"$evener" train -m tiny.gguf -d pocl --data "$text" -o adapter.gguf --lora-rank 4 --steps 5 --learning-rate 0.05 -c 32 \
	--warmup 0 --held-out 0 -q >out 2>err || fail "LoRA: $(cat err)"
logits() { "$evener" logits -m tiny.gguf -d pocl --ids 65,66,67 -q "$@" 2>err || fail "logits $*: $(cat err)"; }
cmp -s <(logits) <(logits --lora adapter.gguf) && fail "the adapter changes nothing"
cmp -s <(logits) <(logits --lora adapter.gguf:0) || fail "an adapter scaled by 0 changes something"
sed 's/dim: 48/dim: 96/' tiny.yaml >wide.yaml
"$evener" train wide.yaml -d pocl --output wide.gguf --steps 1 -q >out 2>err || fail "$(cat err)"
"$evener" run -m wide.gguf --lora adapter.gguf -d pocl -p x -n 1 -q >out 2>err && fail "another model's adapter is taken"
grep -q 'adapter.gguf: tensor .* does not have the shape' err || fail "mismatched adapter: $(cat err)"
"$evener" run -m wide.gguf --lora tiny.gguf -d pocl -p x -n 1 -q >out 2>err && fail "a model is taken for an adapter"
refuse 2 "target 'attn_x'" train -m tiny.gguf -d pocl --data "$text" -o x.gguf --lora-rank 4 -c 32 --lora-targets attn_x

printf 'short' >short.txt
: >empty.txt
refuse 2 'short.txt: 5 tokens to learn from' train tiny.yaml -d pocl --data short.txt --output x.gguf
refuse 1 'empty.txt: is empty' train tiny.yaml -d pocl --data empty.txt --output x.gguf
refuse 1 'missing.txt' train tiny.yaml -d pocl --data missing.txt --output x.gguf
[ -e x.gguf.checkpoint ] && fail "a run that did not begin leaves a checkpoint"
refuse 2 'no checkpoint to resume' train tiny.yaml -d pocl --output x.gguf --resume
refuse 2 'multiple of 16' train tiny.yaml -d pocl --output x.gguf -c 30
refuse 2 'no model' train --data "$text" -o x.gguf
refuse 1 'holds the last good state' train tiny.yaml -d pocl --output nan.gguf --learning-rate 1e30 --clip 0 --warmup 0 \
	--save-every 1 -q
grep -qE "step [0-9]+: the (loss|gradient's norm) is -?(nan|inf)" err || fail "loss that is not a number: $(cat err)"
[ -e nan.gguf ] && fail "a model was written in spite of a loss that is not a number"
[ -e nan.gguf.checkpoint ] || fail "the last good checkpoint is gone"
refuse 2 'dim 48, but 96' train wide.yaml -d pocl --output nan.gguf --resume
refuse 2 'a llama model, but gpt2' train gpt2.yaml -d pocl --output nan.gguf --resume
refuse 1 'nowhere' train tiny.yaml -d pocl --output nowhere/x.gguf
(
	trap '' XFSZ # a write beyond the limit fails, as on a full disk
	ulimit -f 100
	refuse 1 'x.gguf.checkpoint: could not write' train tiny.yaml -d pocl --output x.gguf
	exit "$failures"
) || failures=1
head -c 3000 nan.gguf.checkpoint >cut.gguf.checkpoint
refuse 1 'cut.gguf.checkpoint' train tiny.yaml -d pocl --output cut.gguf --resume

# A text that the vocabulary does not cover: that of the tiny model, without its token for the byte Q.
python3 - tiny.gguf hole.gguf <<'END'
import sys

def entry(text):
    return len(text).to_bytes(8, "little") + text

data = open(sys.argv[1], "rb").read()
assert data.count(entry(b"P") + entry(b"Q")) == 1
open(sys.argv[2], "wb").write(data.replace(entry(b"P") + entry(b"Q"), entry(b"P") + entry(b"\1")))
END
{
	head -n 2 "$text" | tr -d Q
	echo 'A Quiet line'
} >q.txt
where="q.txt: line 3: the model's vocabulary has no token for byte 0x51 at offset $(($(head -n 2 q.txt | wc -c) + 2))"
echo kept >x.gguf
refuse 1 "$where" train -m hole.gguf -d pocl --data q.txt -o x.gguf -c 32 -q
refuse 1 "$where" train -m hole.gguf -d pocl --data q.txt -o x.gguf -c 32 --lora-rank 4 -q
refuse 1 "$where" score -m hole.gguf -d pocl -f q.txt -q
[ "$(ls x.gguf*)" = x.gguf ] && [ "$(cat x.gguf)" = kept ] || fail "a text that is not covered leaves $(ls x.gguf*)"
printf 'version: 1\nmodel: {architecture: simple-lm, vocab: 10, dim: 5}\n' >simple.yaml
refuse 1 'no vocabulary' train simple.yaml -d pocl --data q.txt -o y.gguf -q
[ -e y.gguf.checkpoint ] && fail 'a run without a tokenizer leaves a checkpoint'
finish
