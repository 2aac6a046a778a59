#!/usr/bin/env bash
# results.sh EVENER REPO - the output of the commands with a real model (EVENER_TEST_MODEL, SmolLM2-135M-Instruct): JSON with
# the keys that scripts rely on and nothing else on stdout, text as it comes, an end in time after Ctrl-C. Exit 77 without
# the model.
. "$(dirname "$0")/lib.sh"
need_model
without rusticl
run=(run -m "$model" -d pocl -c 256)
text='The capital of France is'

holds 'd["ids"] == [504, 3575, 282, 4649, 314] and d["text"] == "'"$text"'"' tokenize -m "$model" -p "$text"
holds 'd["ids"] == [504, 3575] and d["text"] == "The capital"' tokenize -m "$model" --ids 504,3575
holds 'd["ids"] == [1] and d["text"] == "<|im_start|>"' tokenize -m "$model" -p '<|im_start|>' --special
holds 'd["arch"] == "llama" and d["n_layers"] == 30 and len(d["tensors"]) == 272 and d["types"] and d["metadata"]' \
	inspect "$model" --tensors
holds 'all(x["id"] and "usable" in x and "gemv_gbs" in x for x in d["devices"]) and "problems" in d' devices
holds 'd["ranks"][0]["heads"] == [0, 9] and d["ranks"][0]["bytes"] > 0 and abs(d["ranks"][0]["share_decode"] - 1) < 1e-6
	and d["predicted"]["decode_tok_s"] > 0 and d["predicted"]["best_single"]["device"]' plan -m "$model" -d pocl -c 256
holds 'd["prompt_ids"] == [504, 3575, 282, 4649, 314] and d["ids"] == [7042, 30, 198, 198, 504, 2988, 314, 42]
	and d["text"] == " Paris.\n\nThe answer is:" and d["finish"] == "length" and d["events"] == []
	and d["stats"]["decode_tok_s"] > 0 and abs(sum(r["share"] for r in d["stats"]["ranks"]) - 1) < 1e-6' \
	"${run[@]}" -p "$text" -n 8 --temp 0
# A draft model guesses, and the text is the same.
holds 'd["draft"]["predicted"]["decode_tok_s"] > 0 and len(d["draft"]["ranks"]) == 1' plan -m "$model" --draft "$model" -d pocl -c 256
holds 'd["ids"] == [7042, 30, 198, 198, 504, 2988, 314, 42] and d["stats"]["drafted"] >= d["stats"]["accepted"] > 3
	and "draft model is on" in d["events"][0]["text"]' "${run[@]}" -p "$text" -n 8 --temp 0 --draft "$model" --speculate draft
refuse 2 'speculate draft needs a draft model' "${run[@]}" -p a --speculate draft
holds 'd["finish"] == "length" and d["ids"] == [] and d["text"] == ""' "${run[@]}" -p a -n 0
holds 'd["finish"] == "context" and len(d["prompt_ids"]) + len(d["ids"]) == 17' \
	run -m "$model" -d pocl -c 16 -p "$text" --temp 0 --ignore-eos
# The trained context of 8192 tokens does not fit into 400 MiB: the longest one that fits is used, and is enough here.
"$evener" run -m "$model" -d pocl --memory 400MiB -p "$text" -n 4 --temp 0 >out 2>err || fail "400 MiB: $(head -c 300 err)"
grep -q 'memory is too short for the context of 8192 tokens.* it is [1-7][0-9]* ' err || fail "400 MiB: no warning: $(cat err)"
[[ $(cat out) == *' Paris.'* ]] || fail "400 MiB: the text is '$(cat out)'"
holds 'd["ids"] == [504, 3575] and len(d["logits"]) == 2 and len(d["logits"][1]) == 49152' \
	logits -m "$model" -d pocl -c 16 --ids 504,3575
holds 'len(d["alone"]) == 1 and 0 < d["efficiency"]["decode"] and 0 < d["fraction_of_bandwidth"] < 2
	and d["together"]["prefill_tok_s"] > 0 and d["all_reduce_us"] == 0 and d["kernels"] is None' \
	bench -m "$model" -d pocl -p 16 -n 4 -r 1
holds 'd["alone"] == [] and d["efficiency"]["decode"] is None and d["depth"] == 40 and d["all_reduce_us"] > 0
	and [i[-4:] for i in d["devices"]] == ["/1@0", "/1@1"] and len(d["all_reduce"]) > 2 and d["together"]["decode_tok_s"] > 0
	and {(k["phase"], k["rank"]) for k in d["kernels"]} == {(p, r) for p in ("prefill", "decode") for r in (0, 1)}
	and sum(k["us"] for k in d["kernels"]) > 0 and any(k["launches"] == 30 and "q4_1" in k["kernel"].split()
	for k in d["kernels"] if k["phase"] == "decode" and k["rank"] == 1)' \
	bench -m "$model" -d pocl/1+1 --depth 40 -p 8 -n 4 -r 1 --no-alone --kernels

# The halves that were just used by name are not compared with the whole device. They are left out, and not an error.
mkdir pocl
cp "$OCL_ICD_VENDORS/pocl.icd" pocl/
OCL_ICD_VENDORS=$PWD/pocl holds 'len(d["ranks"]) == 1 and len(d["dropped"]) == 1' plan -m "$model" -c 256

# A trial that was made on a busy machine is repeated on a quieter one. Other rates are used as they are.
cp -r "${EVENER_CACHE_DIR-}" cache || fail 'EVENER_CACHE_DIR names no folder'
sed -i 's|/gbs\t.*|/gbs\t0.001|; /steps/d' cache/profiles/*
slow='d["predicted"]["decode_tok_s"] < 1' plan=(plan -m "$model" -d pocl -c 256)
EVENER_CACHE_DIR=$PWD/cache holds "$slow" "${plan[@]}"
for profile in cache/profiles/*; do printf '0\ttrial/others\t1000\n' >>"$profile"; done
EVENER_CACHE_DIR=$PWD/cache holds "not ($slow)" "${plan[@]}"

# Plain output: only the text on stdout, the rest on stderr, and with -q nothing there.
"$evener" "${run[@]}" -n 8 --temp 0 <<<"$text" >out 2>err || fail 'run from stdin failed'
[ "$(cat out)" = "$(printf ' Paris.\n\nThe answer is:')" ] || fail "run: printed $(cat out)"
grep -q 'tokens/s' err || fail 'run: no statistics on stderr'
"$evener" "${run[@]}" -n 8 --temp 0 -p "$text" >out 2>&1 || fail 'run 2>&1 failed'
grep -q '^evener: load' out || fail "run 2>&1: no newline after the text: $(tail -n 4 out)"
"$evener" "${run[@]}" -q -n 1 -p "$text" >out 2>err
[ ! -s err ] || fail "run -q: $(cat err)"

# A prompt that does not fit into the context, and an empty prompt (this model has no BOS).
"$evener" run -m "$model" -d pocl -c 4 -p "$text" -q 2>err >out
[ $? = 1 ] && grep -q 'context of 4' err || fail "prompt larger than the context: $(cat err)"
"$evener" "${run[@]}" -q -p '' 2>err >out
[ $? = 2 ] && grep -q 'prompt is empty' err || fail "empty prompt: $(cat err)"

# Interrupted in the middle of the text, not while devices are measured again: exit 130 within two seconds, and the text
# so far is there.
for signal in INT TERM; do
	env -u BASH_ENV EVENER_LOG=info "$evener" "${run[@]}" -p "$text" --ignore-eos --temp 0 -c 4096 --json >out 2>err &
	pid=$!
	for _ in $(seq 600); do
		grep -q 'tokens computed' err && break
		sleep 0.1
	done
	sleep 1
	began=$(date +%s%N)
	kill -s "$signal" "$pid"
	wait "$pid"
	code=$?
	took=$((($(date +%s%N) - began) / 1000000))
	[ "$code" = 130 ] || fail "SIG$signal: exit $code, expected 130"
	[ "$took" -lt 2500 ] || fail "SIG$signal: ended after $took ms"
	python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); sys.exit(d["finish"] != "interrupted")' \
		out || fail "SIG$signal: no result with finish interrupted"
done

finish
