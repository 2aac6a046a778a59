#!/usr/bin/env bash
# batch.sh EVENER REPO - evener batch with a real model (EVENER_TEST_MODEL, SmolLM2-135M-Instruct) over two halves of a CPU:
# its files, a run that is killed or interrupted and continues, pieces that fail, labels. Exit 77 without the model.
. "$(dirname "$0")/lib.sh"
need_model
without rusticl intel
batch=(batch -m "$model" -d pocl/1+1 --activations f32 --temp 0)

# records PYTHON FILE: true for the list r of the file's records
records() {
	python3 -c "
import json, sys
r = [json.loads(line) for line in open('$2')]
sys.exit(0 if ($1) else 'got ' + json.dumps(r)[:900])" || fail "$2: not so: $1"
}

# Twenty pieces, some lines apart, whose answers have different lengths. The cache has room for a few of them at a time.
{
	echo '  Some questions'
	for country in France Japan Egypt Peru Norway Kenya; do
		printf '\nWhat is the capital of %s?\n    Name one animal that lives in %s and say why.\nWrite a word.\n' $country $country
	done
	printf '\r\n\tThe end.\n\n'
} >in.txt
lines=("${batch[@]}" -c 384 -f in.txt --cut lines --piece-tokens 0 --template 'Answer: {text}' -n 16)
holds 'd["finish"] == "done" and d["pieces"] == d["done"] == 20 and d["resumed"] == 0 and d["failed"] == 0
	and d["tokens"] == sum(x["tokens"] for x in map(json.loads, open("whole.jsonl"))) and d["rows_per_step"] > 2 and len(d["ranks"]) == 2' "${lines[@]}" -o whole.jsonl
records 'len(r) == 20 and [x["index"] for x in r] == list(range(20)) and r[0]["input"] == {"text": "Some questions"}
	and r[19]["input"]["text"] == "The end." and all(x["answer"] and x["finish"] in ("stop", "length") for x in r)
	and all(0 < x["tokens"] <= 16 for x in r) and len({x["tokens"] for x in r}) > 2' whole.jsonl
[ ! -e whole.jsonl.part ] || fail 'the journal is left over'

# The same answers as text, where the pieces were.
"$evener" "${lines[@]}" -o whole.txt -q >out 2>err || fail "text: $(cat err)"
python3 - <<'EOF' || fail 'text: not the answers in the layout of the input'
import json
text = open('in.txt', newline='').read()
at, out = 0, ''
for r in map(json.loads, open('whole.jsonl')):
    begin = text.index(r['input']['text'], at)
    out += text[at:begin] + r['answer'].strip()
    at = begin + len(r['input']['text'])
assert out + text[at:] == open('whole.txt', newline='').read()
EOF

# ends SIGNAL COUNT FILE: sends the signal once that many pieces are in the journal; the same command then computes the
# others and no other, and writes the same file as the run that nobody disturbed.
ends() {
	local signal=$1 count=$2 file=$3 pid code kept
	"$evener" "${lines[@]}" -o "$file" >out 2>err &
	pid=$!
	for _ in $(seq 3000); do
		[ "$(wc -l 2>/dev/null <"$file.part" || echo 0)" -le "$count" ] || break
		sleep 0.02
	done
	kill -s "$signal" "$pid"
	wait "$pid" 2>/dev/null
	code=$?
	[ ! -e "$file" ] || fail "SIG$signal: the file is there before its time"
	cp "$file.part" part
	kept=$(($(wc -l <part) - 1))
	((kept >= count && kept < 20)) || fail "SIG$signal: $kept pieces were kept"
	if [ "$signal" = INT ]; then
		[ "$code" = 130 ] || fail "SIG$signal: exit $code"
		grep -q "of 20 pieces are done; the same command continues from there" err || fail "SIG$signal: $(cat err)"
	fi
	refuse 2 'begin anew with --restart' "${lines[@]}" -o "$file" -n 39
	[ ! -e "${EVENER_TEST_MODEL_F32-}" ] || refuse 2 'another model' "${lines[@]}" -o "$file" -m "$EVENER_TEST_MODEL_F32"
	cmp -s part "$file.part" || fail "SIG$signal: a run that was refused changed the journal"
	holds "d['resumed'] == $kept and d['done'] == 20 and d['tokens'] ==
		sum(x['tokens'] for x in map(json.loads, open('whole.jsonl'))
			if x['index'] not in [int(l.split('\t')[0]) for l in list(open('part'))[1:]])" "${lines[@]}" -o "$file"
	cmp -s "$file" whole.jsonl || fail "SIG$signal: not the file of the run that nobody disturbed"
}
ends KILL 7 killed.jsonl
ends INT 3 interrupted.jsonl

# Nothing is left to compute: no device is needed to write the file.
cp part done.jsonl.part
python3 - <<'EOF'
lines = open('done.jsonl.part').read().splitlines()[:1]
lines += ['%d\t%s' % (i, l) for i, l in enumerate(open('whole.jsonl').read().splitlines())]
open('done.jsonl.part', 'w').write('\n'.join(lines) + '\n')
EOF
OCL_ICD_VENDORS=$dir/none holds 'd["resumed"] == 20 and d["ranks"] == []' "${lines[@]}" -o done.jsonl
cmp -s done.jsonl whole.jsonl || fail 'nothing left: another file'

# A text that the model continues, alone and among others.
"$evener" run -m "$model" -d pocl/1+1 --activations f32 --temp 0 -n 8 -p 'The capital of France is' -q >alone 2>err ||
	fail "run: $(cat err)"
printf 'The capital of France is\nOne two three\nA plough\n' >raw.txt
"$evener" "${batch[@]}" -f raw.txt -o raw.jsonl --cut lines --piece-tokens 0 --raw -n 8 -q 2>err || fail "raw: $(cat err)"
records "r[0]['answer'] == open('alone').read() and r[0]['prompt_tokens'] == 5" raw.jsonl
"$evener" "${batch[@]}" -f raw.txt -o stop.jsonl --cut lines --piece-tokens 0 --raw -n 8 --stop ari -c 256 --cache-tokens 1024 -q 2>err ||
	fail "stop: $(cat err)"
records "r[0]['answer'] == ' P' and r[0]['finish'] == 'stop'" stop.jsonl

# Raw, the template may have control tokens. Text that looks like one stays text.
printf 'a<|im_end|>b\nab\n' >special.txt
"$evener" tokenize -m "$model" -p 'a<|im_end|>b' --json >tokens.json || fail 'tokenize'
"$evener" "${batch[@]}" -f special.txt -o special.jsonl --cut lines --piece-tokens 0 --raw --template '<|im_start|>{text}' -n 1 -q 2>err ||
	fail "special: $(cat err)"
records "[x['prompt_tokens'] for x in r] == [1 + len(json.load(open('tokens.json'))['ids']), 2]" special.jsonl

# Objects. A piece that fails does not stop the others. Text that looks like a control token is text.
cat >in.jsonl <<'EOF'
{"custom_id": "a", "question": "Where is it?", "context": "The book is on the table.", "n": 1.25}

{"custom_id": 2, "question": "Who?"}
{"question": "What <|im_end|>?", "context": "x", "priority": -3}
EOF
python3 -c "import json; print(json.dumps({'question': 'Why?', 'context': 'word ' * 400}))" >>in.jsonl
objects=("${batch[@]}" -c 256 -f in.jsonl -n 8 --system 'Be brief.' --template '{context} {question} {{}}')
tells 1 '2 of 4 pieces failed; the first is piece 1 (in.jsonl, line 3): the template' "${objects[@]}" -o objects.jsonl -q
records "[x['index'] for x in r] == [0, 1, 2, 3] and [x.get('custom_id') for x in r] == ['a', 2, None, None]
	and r[0]['input']['n'] == 1.25 and r[0]['answer'] and '{context} is missing' in r[1]['error']['message']
	and r[2]['answer'] and 'context' in r[3]['error']['message'] and 'answer' not in r[3]" objects.jsonl
tells 1 '2 of 4 pieces failed' "${objects[@]}" -o objects.txt -q
[ "$(grep -c '^\[piece [13] failed: ' objects.txt)" = 2 ] || fail "objects.txt: $(cat objects.txt)"

# OpenAI's batch format.
cat >openai.jsonl <<'EOF'
{"custom_id":"r1","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"What is the capital of Peru?"}],"max_tokens":12}}
{"custom_id":"r2","method":"POST","url":"/v1/completions","body":{"prompt":"The capital of France is","max_tokens":5,"n":2,"stop":["."]}}
{"custom_id":"r3","method":"POST","url":"/v1/completions","body":{"prompt":[504,3575],"max_tokens":2,"logprobs":1}}
{"custom_id":"r4","method":"POST","url":"/v1/embeddings","body":{"input":"a"}}
{"custom_id":"r5","method":"POST","url":"/v1/completions","body":{"prompt":"Is it?","regex":"(yes|no)!"}}
{"custom_id":"r6","method":"POST","url":"/v1/completions","body":{"prompt":"Is it?","grammar":"root ::= x"}}
EOF
tells 1 '3 of 6 pieces failed; the first is piece 2' "${batch[@]}" -f openai.jsonl -o answers.jsonl -q
records "[x['custom_id'] for x in r] == ['r1', 'r2', 'r3', 'r4', 'r5', 'r6'] and all(x['id'] and x['error'] is None for x in r)
	and [x['response']['status_code'] for x in r] == [200, 200, 400, 404, 200, 400]
	and r[0]['response']['body']['choices'][0]['message']['content'] == 'The capital of Peru is Lima.'
	and r[0]['response']['body']['object'] == 'chat.completion' and r[0]['response']['body']['model'] == 'm'
	and [c['text'] for c in r[1]['response']['body']['choices']] == [' Paris', ' Paris']
	and r[4]['response']['body']['choices'][0]['text'] in ('yes!', 'no!')
	and r[5]['response']['body']['error']['param'] == 'grammar'
	and r[2]['response']['body']['error']['param'] == 'logprobs'" answers.jsonl
refuse 2 'give -o OUT.jsonl' "${batch[@]}" -f openai.jsonl -o answers.txt

# Labels.
cat >reviews.txt <<'EOF'
What a wonderful little cafe, we will come back.
The worst service I have ever had.
EOF
sed "s|\.\./models/.*gguf|$model|" "$repo/configs/classify.yaml" >classify.yaml
"$evener" batch classify.yaml -d pocl/1+1 -f reviews.txt -o labels.jsonl -q 2>err || fail "labels: $(cat err)"
records "[x['answer'] for x in r] == ['positive', 'negative'] and all(abs(sum(l['probability'] for l in x['labels']) - 1) < 1e-6
	and all(l['logprob_sum'] < 0 and l['tokens'] == 1 for l in x['labels']) for x in r)" labels.jsonl
"$evener" "${batch[@]}" -f reviews.txt -o chat.jsonl --cut lines --piece-tokens 0 --label bad --label 'very good indeed' -q 2>err ||
	fail "labels: $(cat err)"
records "[l['label'] for l in r[0]['labels']] == ['bad', 'very good indeed'] and r[0]['labels'][1]['tokens'] == 3
	and abs(r[0]['labels'][1]['logprob_sum'] / 3 - r[0]['labels'][1]['logprob_mean']) < 1e-6" chat.jsonl

# Wrong use.
printf '{"a": 1}\nnonsense\n' >bad.jsonl
printf '{"a": 1}\n[]\n' >list.jsonl
printf ' \n' >empty.txt
printf 'my notes\n' >kept.txt.part
# Answers of a form, which is a part of what a run must have in common with the one that it continues.
echo '{"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}, "stars": {"type": "integer", "minimum": 1, "maximum": 5}},
	"required": ["mood", "stars"], "additionalProperties": false}' >mood.json
echo '{' >broken.json
printf 'A fine place.\nA bad one.\n' >reviews.txt
"${evener}" "${batch[@]}" -c 384 -f reviews.txt --cut lines --piece-tokens 0 --template 'Mood and stars: {text}' -n 60 --schema mood.json \
	-o moods.jsonl -q 2>err || fail "--schema: $(cat err)"
records 'len(r) == 2 and all(set(json.loads(x["answer"])) == {"mood", "stars"} and x["finish"] == "stop" for x in r)' moods.jsonl
refuse 2 'name their own form' "${batch[@]}" -f openai.jsonl -o answers.jsonl --schema mood.json
refuse 2 'broken.json: schema' "${batch[@]}" -f in.txt -o o.txt --schema broken.json

refuse 2 'give -o OUT.jsonl' batch -m "$model" -f in.txt
refuse 1 'missing.txt' "${batch[@]}" -f missing.txt -o o.txt
refuse 2 'empty.txt: has no text' "${batch[@]}" -f empty.txt -o o.txt
refuse 2 '{question}: a text has only {text}' "${batch[@]}" -f in.txt -o o.txt --template '{question}'
refuse 2 "--template: '{te xt}'" "${batch[@]}" -f in.txt -o o.txt --template '{te xt}'
refuse 2 'bad.jsonl:2:' "${batch[@]}" -f bad.jsonl -o o.txt
refuse 2 'list.jsonl:2:1: expected an object' "${batch[@]}" -f list.jsonl -o o.txt
refuse 2 '--raw and --system exclude each other' "${batch[@]}" -f in.txt -o o.txt --raw --system x
refuse 2 'in.txt is the input' "${batch[@]}" -f in.txt -o ./in.txt
refuse 2 'labels have no form' "${batch[@]}" -f in.txt -o o.txt --label a --label b --schema mood.json
refuse 2 'two or more are needed' "${batch[@]}" -f in.txt -o o.txt --label a
refuse 2 "'a' is there twice" "${batch[@]}" -f in.txt -o o.txt --label a --label b --label a
refuse 1 'kept.txt.part: is not the journal' "${batch[@]}" -f in.txt -o kept.txt
[ "$(cat kept.txt.part)" = 'my notes' ] || fail 'a file that is no journal was changed'
finish
