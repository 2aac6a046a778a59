#!/usr/bin/env bash
# embed.sh EVENER REPO [model] - evener embed: vectors against BERT computed in float64, on one rank and on two, where one
# has no heads; what it prints and refuses. model: with all-MiniLM-L6-v2 (scripts/fetch-encoder), on PoCL, Intel's runtime and both.
. "$(dirname "$0")/lib.sh"
without mesa rusticl
check() { python3 "$repo/tests/cli/encoder.py" check "$1" "$evener" "$2" "$3" -- "${@:4}" || fail "$*"; }

if [ "${3-}" = model ]; then
	model=${EVENER_EMBED_MODEL-$repo/models/all-minilm-l6-v2}
	[ -e "$model" ] || skip "no $model"
	check "$model" "$repo/tests/data/pairs.txt" 1e-4 -d pocl
	[ -e drivers/intel.icd ] || skip 'no driver intel'
	check "$model" "$repo/tests/data/pairs.txt" 1e-4 -d intel
	check "$model" "$repo/tests/data/pairs.txt" 1e-4 -d pocl/1+1,intel --shares 3,1,2
	finish
fi

python3 "$repo/tests/cli/encoder.py" make e.gguf folder || exit 1
{
	printf '%s\n' 'the cat and the dog' 'The dogs, and cats.' a the 'x1 y2 z3, w4 v5 u6. the and the and the cat' 'queueing zebras'
	for i in {1..8}; do echo "the $i cats and dog number $i sat on $i"; done
} >texts
rm -f drivers/intel.icd
check folder texts 1e-5 -d pocl
check folder texts 1e-5 -d pocl/1+1 --shares 9,1 --pooling cls -b 80 # several steps; one rank has no heads
check folder texts 1e-5 -d pocl --pooling last
"$evener" embed -m folder -f texts -d pocl >v.folder && "$evener" embed -m e.gguf -d pocl <texts | cmp - v.folder || fail 'GGUF: other vectors'
sed -n 5p texts | "$evener" embed -m e.gguf -d pocl | cmp - <(sed -n 5p v.folder) || fail 'alone: another vector'

"$evener" quantize folder back.gguf F32 >/dev/null && "$evener" inspect back.gguf --json | grep -q token_type_count ||
	fail 'quantize: llama.cpp needs the number of types'

head -3 texts >three
"$evener" embed -m e.gguf -d pocl -f three --similarity matrix >matrix && "$evener" embed -m e.gguf -d pocl -f three --similarity pairs >pairs &&
	"$evener" embed -m e.gguf -d pocl -f three --similarity pairs --json >pairs.json || fail 'similarity: failed'
python3 - <<'PY' || fail 'similarity'
import json
matrix = [list(map(float, line.split())) for line in open("matrix")]
pairs = [line.split(None, 3) for line in open("pairs")]
assert all(abs(matrix[i][i] - 1) < 1e-4 and matrix[i] == [row[i] for row in matrix] for i in range(3)), matrix
assert [float(p[0]) for p in pairs] == sorted((matrix[0][1], matrix[0][2], matrix[1][2]), reverse=True), pairs
assert all(float(p[0]) == matrix[int(p[1]) - 1][int(p[2]) - 1] for p in pairs), pairs
texts = open("three").read().splitlines()
assert pairs[0][3].rstrip("\n") == texts[int(pairs[0][1]) - 1] + " | " + texts[int(pairs[0][2]) - 1], pairs[0]
assert [(p["a"], p["b"]) for p in json.load(open("pairs.json"))["pairs"]] == [(int(p[1]), int(p[2])) for p in pairs]
PY

printf 'a\n\nb\n' >gap
refuse 2 'gap: line 2 is empty' embed -m e.gguf -f gap
printf 'a\n%s\n' "$(printf 'cat %.0s' {1..90})" >long
refuse 1 'long: line 2 has 92 tokens, at most 80 fit into the context' embed -m e.gguf -f long -d pocl
refuse 2 'rows' embed -m e.gguf -p a --pooling rows
tells 2 'an encoder has no next token; `evener embed` gives vectors' run -m e.gguf -p a -d pocl -q
tells 2 'an encoder has no next token' logits -m e.gguf -p a -d pocl -q
broken() { python3 -c "import json; f = 'folder/$1'; d = json.load(open(f)); d.update($2); json.dump(d, open(f, 'w'))"; }
broken 1_Pooling/config.json '{"pooling_mode_max_tokens": True}'
refuse 1 'expected one pooling mode' embed -m folder -p a
broken config.json '{"position_embedding_type": "relative_key"}'
refuse 1 '"position_embedding_type" is "relative_key"' embed -m folder -p a

"$repo/scripts/make-tiny-model" llama.gguf || exit 1
"$evener" embed -m llama.gguf -p 'a decoder' -d pocl --json | python3 -c 'import json, sys
v = json.load(sys.stdin)["vectors"][0]
assert abs(sum(x * x for x in v) - 1) < 1e-5' || fail 'a decoder: no vector'
finish
