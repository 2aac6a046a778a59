#!/usr/bin/env bash
# score.sh EVENER REPO [long] - evener score with a real model (EVENER_TEST_MODEL, SmolLM2-135M-Instruct): the figures of
# llama-perplexity with every split, a killed run that continues, and bad texts. long: all 32 windows. Exit 77 without the
# model.
. "$(dirname "$0")/lib.sh"
need_model
without rusticl intel
text=$repo/tests/data/persuasion-20k.txt
f32=(score -m "$model" --activations f32)

# Within 0.1 % of the figure of llama-perplexity for the same weights in F32.
agrees() {
	echo "abs(d['perplexity'] / $1 - 1) < 1e-3 and d['tokens'] == 255 * $2 and d['windows'] == $2
		and abs(math.exp(d['nll']) / d['perplexity'] - 1) < 1e-6 and d['resumed_windows'] == 0"
}

# Packed messages: the figure changes, but no more than the format allows.
shorter() {
	holds "0 < abs(d['perplexity'] / $2 - 1) < 5e-3" \
		"${f32[@]}" -f "$text" --ctx 512 --windows 2 -d pocl/1+1 --split tensor --messages "$1"
}

ways=('-d pocl/1' '-d pocl/1+1 --split tensor' '-d pocl/1+1 --split sequence')
if [ "${3-}" = long ]; then
	first=
	for way in "${ways[@]}"; do
		# shellcheck disable=SC2086 # flags
		holds "$(agrees 39.4136 32) and abs(d['perplexity'] / ${first:-d['perplexity']} - 1) < 1e-4" \
			"${f32[@]}" -f "$text" --ctx 512 --windows 32 $way
		first=${first:-$(python3 -c 'import json; print(json.load(open("out"))["perplexity"])')}
	done
	holds "$(agrees 35.0987 2)" "${f32[@]}" -f "$text" --ctx 512 --windows 2 -d pocl/1+1 --split tensor
	two=$(python3 -c 'import json; print(json.load(open("out"))["perplexity"])')
	shorter f16 "$two"
	shorter bf16 "$two"
	finish
fi

first=
for way in "${ways[@]}"; do
	# shellcheck disable=SC2086
	holds "$(agrees 35.0987 2) and abs(d['perplexity'] / ${first:-d['perplexity']} - 1) < 1e-4
		and abs(math.exp(-sum(t['logprob'] for t in d['token_logprobs'][:255]) / 255) / 31.0310 - 1) < 1e-3" \
		"${f32[@]}" -f "$text" --ctx 512 --windows 2 --tokens $way
	first=$(python3 -c 'import json; print(json.load(open("out"))["perplexity"])')
	[ "$way" != "${ways[1]}" ] || tensor=$first
done
holds 'd["split"] == "sequence" and [r["windows"] for r in d["ranks"]] == [3, 1]' \
	"${f32[@]}" -f "$text" --ctx 16 --windows 4 -d pocl/1+1 --split sequence --shares 3,1
shorter q8 "$tensor"

# Each token. A text shorter than the context is one piece; all of its tokens except the first are scored.
holds 'd["tokens"] == 4 and [t["text"] for t in d["token_logprobs"]] == [" capital", " of", " France", " is"]
	and abs(d["nll"] + sum(t["logprob"] for t in d["token_logprobs"]) / 4) < 1e-6' \
	"${f32[@]}" -d pocl/1 -p 'The capital of France is' --tokens
"$evener" "${f32[@]}" -d pocl/1 -p 'The capital of France is' --tokens -q >out 2>err || fail "tokens: $(cat err)"
grep -qE '^ *3 +4649 +-[0-9.]+  ␣France$' out || fail "tokens: $(cat out)"
tail -1 out | grep -q '^perplexity [0-9.]*, ' || fail "no perplexity at the end: $(tail -1 out)"
printf 'bytes \xe2\x82 that are no text' >bytes.txt
holds 'd["tokens"] > 4 and math.isfinite(d["nll"])' "${f32[@]}" -d pocl/1 -f bytes.txt --tokens
"$evener" "${f32[@]}" -d pocl/1 -f bytes.txt -q --image surprise.png >out 2>err || fail "image: $(cat err)"
[ "$(head -c 4 surprise.png | tail -c 3)" = PNG ] || fail 'image: no PNG'

# Killed in the middle: the next run continues and has the same figures to the last digit. It has a cache of its own, with a
# copy of the profiles.
cp -r "${EVENER_CACHE_DIR:-$HOME/.cache/evener}" cache 2>/dev/null || mkdir cache
export EVENER_CACHE_DIR=$dir/cache
rm -rf cache/scores
run=("${f32[@]}" -f "$text" --ctx 32 --windows 30 -d pocl/1)
"$evener" "${run[@]}" -q >out 2>err &
pid=$!
for _ in $(seq 600); do
	! ls cache/scores 2>/dev/null | grep -qv tmp || break
	sleep 0.1
done
kill -KILL "$pid"
wait "$pid" 2>/dev/null
rm -f cache/scores/*.tmp
[ -n "$(ls cache/scores)" ] || fail 'killed: nothing was kept'
cp -r cache/scores kept
holds '0 < d["resumed_windows"] < 30 and d["windows"] == 30' "${run[@]}"
mv out resumed
[ -z "$(ls cache/scores)" ] || fail 'resumed: what was kept is still there'
holds "d['resumed_windows'] == 0 and d['nll'] == json.load(open('resumed'))['nll']" "${run[@]}"
file=$(ls kept)
head -c 100 "kept/$file" >"cache/scores/$file"
"$evener" "${run[@]}" -q >out 2>err || fail "damaged state: $(cat err)"
grep -q 'damaged' err || fail "damaged state: not told: $(cat err)"

# Bad texts.
: >empty.txt
printf 'one' >one.txt
printf 'some words, but no window' >short.txt
refuse 1 missing.txt score -m "$model" -f missing.txt
refuse 1 "$dir" score -m "$model" -f "$dir"
refuse 2 'empty.txt: 0 tokens, at least 2 are needed' score -m "$model" -f empty.txt
printf 'a line\nbytes \xff\xfe without a token' >hole.txt
refuse 1 "hole.txt: line 2: the model's vocabulary has no token for byte 0xff at offset 13" score -m "$model" -f hole.txt
refuse 2 'one.txt: 1 tokens, at least 2 are needed' score -m "$model" -f one.txt
refuse 2 'short.txt: 6 tokens, at least 512 are needed for a window' score -m "$model" -f short.txt --ctx 512
refuse 2 '--ctx: 8193 tokens, but the model was trained for a context of 8192' score -m "$model" -f one.txt --ctx 8193
refuse 2 'context: 9000 tokens' score -m "$model" -f one.txt -c 9000
refuse 2 '--ctx: 2:' score -m "$model" -f one.txt --ctx 2
refuse 1 'split: sequence needs the whole model on every device' "${f32[@]}" -f "$text" --ctx 512 --windows 2 \
	-d pocl/1+1 --memory 130MB --split sequence
holds 'd["split"] == "tensor" and d["predicted"]["sequence_tok_s"] is None' "${f32[@]}" -f "$text" --ctx 64 --windows 4 \
	-d pocl/1+1 --memory 105MB --split auto
"$evener" "${f32[@]}" -d pocl/1 -p 'The capital of France' -q --image nowhere/x.png >out 2>err
[ $? = 1 ] && grep -q 'nowhere/x.png' err && grep -q '^perplexity' out || fail "image that cannot be written: $(cat err)"

finish
