#!/usr/bin/env bash
# make-model.sh EVENER REPO - scripts/make-model: files with random weights have the requested types, load and run.
. "$(dirname "$0")/lib.sh"
without rusticl intel
model=${EVENER_TEST_MODEL:-$repo/models/smollm2-135m-instruct-q4_1.gguf}
[ -f "$model" ] || skip "no model at $model"
python3 -c 'import numpy' 2>/dev/null || skip 'python3 has no numpy'

# types FILE: "TYPE TENSORS" of each, and the sizes.
types() {
	"$evener" inspect "$1" --json | python3 -c 'import json, sys
d = json.load(sys.stdin)
print(*sorted(t["type"] + " " + str(t["tensors"]) for t in d["types"]), d["n_layers"], d["dim"], d["n_heads"], d["n_kv_heads"], d["vocab"], sep=", ")'
}
for case in 'q4_0 F32 5, Q4_0 14, Q8_0 1' 'q6_k F32 5, Q6_K 14, Q8_0 1' 'f16 F16 15, F32 5' \
	'q4_k_m F32 5, Q4_K 12, Q6_K 3'; do
	type=${case%% *}
	"$repo/scripts/make-model" --shape tiny --type "$type" --tokenizer "$model" "$dir/$type.gguf" || fail "$type: not made"
	[ "$(types "$dir/$type.gguf")" = "${case#* }, 2, 256, 8, 4, 49152" ] || fail "$type: $(types "$dir/$type.gguf")"
done

# Shapes with experts are complete: nothing is missing, and nothing is unknown.
for shape in tiny-moe tiny-oss; do
	"$repo/scripts/make-model" --shape $shape --type mxfp4 --layers 1 --tokenizer "$model" "$dir/$shape.gguf" || fail "$shape: not made"
	holds 'd["problem"] is None and d["unknown_keys"] == [] and d["n_layers"] == 1' inspect "$dir/$shape.gguf"
done

"$evener" run -m "$dir/q4_0.gguf" -d pocl -p 'The capital of France is' -n 8 --temp 0 --ignore-eos --json >"$dir/out" ||
	fail 'run failed'
python3 -c 'import json, sys
d = json.load(sys.stdin)
assert d["prompt_ids"] == [504, 3575, 282, 4649, 314] and len(d["ids"]) == 8, d' <"$dir/out" || fail 'run: not as expected'

# The same arguments give the same bytes. A file without a tokenizer is refused.
"$repo/scripts/make-model" --shape tiny --type q4_0 --tokenizer "$model" "$dir/again.gguf"
cmp "$dir/q4_0.gguf" "$dir/again.gguf" || fail 'the same arguments made other bytes'
"$repo/scripts/make-model" --shape tiny --tokenizer "$repo/README.md" "$dir/no.gguf" 2>"$dir/err" && fail 'README.md taken'
grep -q 'README.md: not a GGUF file' "$dir/err" || fail "wrong message: $(cat "$dir/err")"
finish
