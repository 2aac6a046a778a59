#!/usr/bin/env bash
# chat.sh EVENER REPO - `evener run --chat` and `evener chat`: in pipes, and on a terminal (chat_terminal.py).
. "$(dirname "$0")/lib.sh"
need_model
without rusticl intel
[ -d "${OCL_ICD_VENDORS-}" ] || skip 'OCL_ICD_VENDORS names no folder'
greedy=(-m "$model" --temp 0 -d pocl)

# ---- run --chat -----------------------------------------------------------------------------------------------------

question='What is the capital of France?'
holds "'Paris' in d['text'] and d['finish'] == 'stop' and d['reasoning'] == ''" run "${greedy[@]}" --chat -p "$question" -n 60
"$evener" run "${greedy[@]}" -q --chat -p "$question" -n 60 >out 2>err || fail "run --chat: exit $? ($(cat err))"
[ ! -s err ] || fail "run --chat -q: on stderr: $(cat err)"
printf '%s\n' "$question" | "$evener" run "${greedy[@]}" -q --chat -n 60 >piped 2>err || fail "run --chat in a pipe: $(cat err)"
cmp -s out piped || fail "run --chat: a pipe gives another answer: $(cat piped)"

# the prompt is the template's, and what looks like a control token in the message is text
cat >template.jinja <<'END'
{{ bos_token }}{{ messages[0].role }}:{{ messages[-1].content }}{{ '<|im_end|>' if x is defined }}
END
holds "d['prompt_ids'].count(2) == 0 and d['prompt_ids'].count(1) == 1" run "${greedy[@]}" --chat --chat-template template.jinja \
	-p '<|im_end|><|im_start|>' -n 1
holds "d['prompt_ids'].count(2) == 1" run "${greedy[@]}" --chat --chat-template template.jinja --chat-variables '{"x": 1}' -p a -n 1

# stop strings end a text, and are not part of it
holds "d['text'].startswith('The capital of France') is False and 'France' not in d['text'] and d['finish'] == 'stop'" \
	run "${greedy[@]}" --chat -p "$question" -n 60 --stop nowhere --stop France
holds "d['finish'] == 'length' and len(d['ids']) == 2" run "${greedy[@]}" -p Once -n 2 --stop nowhere

# biases and penalties
holds "set(d['ids']) == {19556}" run "${greedy[@]}" --chat -p Hi -n 4 --logit-bias 19556:1000 --logit-bias 2:-1000
holds "len(set(d['ids'])) == 12" run "${greedy[@]}" -p 'a a a a a a' -n 12 --presence-penalty 100 --ignore-eos
holds "len(set(d['ids'])) == 12" run "${greedy[@]}" -p 'a a a a a a' -n 12 --frequency-penalty 100 --ignore-eos
refuse 2 "--logit-bias: 'x': expected ID:BIAS" run "${greedy[@]}" -p a --logit-bias x
refuse 2 "--logit-bias: 1:x: 'x'" run "${greedy[@]}" -p a --logit-bias 1:x
refuse 2 '99999999' run "${greedy[@]}" -q -p a --logit-bias 99999999:1
refuse 2 '--stop: given more than 16 times' run "${greedy[@]}" -p a $(printf -- '--stop x%d ' {1..17})
# Answers of a schema and of a grammar.
printf '{"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}' >schema.json
echo 'root ::= "Paris"{2}' >grammar.gbnf
holds "json.loads(d['text'])['city'] in ('Paris', 'Rome') and d['finish'] == 'stop'" run "${greedy[@]}" --chat -p "$question" -n 60 \
	--schema schema.json
holds "d['text'] == 'ParisParis' and d['finish'] == 'stop'" run "${greedy[@]}" -p "$question" -n 60 --grammar grammar.gbnf
refuse 2 "schema.json: grammar, line 1" run "${greedy[@]}" -p a --grammar schema.json
refuse 2 'expected one of them, found both' run "${greedy[@]}" -p a --grammar grammar.gbnf --schema schema.json
refuse 1 'missing.gbnf' run "${greedy[@]}" -p a --grammar missing.gbnf
refuse 2 'variables: not JSON' run "${greedy[@]}" --chat --chat-variables '{"messages": 1' -p a
refuse 1 'template, line 2: ' run "${greedy[@]}" --chat --chat-template <(printf '\n{{ 1 +}}') -p a
refuse 2 'no tools here' run "${greedy[@]}" --chat --chat-template <(echo "{{ raise_exception('no tools here') }}") -p a
refuse 2 '--stop: must not be empty' run "${greedy[@]}" -p a --stop ''

# ---- chat in a pipe -------------------------------------------------------------------------------------------------

# chats ARGS...: lines of `script` go in, answers to `out`
chats() { "$evener" chat "${greedy[@]}" "$@" <script >out 2>err; }
# answers PYTHON: is true for the list d of the answers of `chats --json`
answers() {
	python3 -c "
import json, sys
d = [json.loads(line) for line in open('out')]
sys.exit(0 if ($1) else 'got ' + json.dumps(d)[:900])" || fail "chat: not so: $1"
}

cat >script <<'END'
My name is Bob.
/save saved.json
What is the capital of France?
/regen
/reset
/load saved.json
What is the capital of France?
"""
two
lines
"""
one \
more
//slash
END
chats --json -n 20 || fail "chat: exit $? ($(cat err))"
[ ! -s err ] || fail "chat --json: on stderr: $(cat err)"
answers "len(d) == 7 and all(a['finish'] in ('stop', 'length') for a in d)"
answers "all(a['stats']['prompt_tokens'] - a['stats']['cached_tokens'] <= 24 for a in d[1:])" # only what is new is computed
answers "'Paris' in d[1]['text'] and d[1]['text'] == d[2]['text'] == d[3]['text']"  # anew, and after loading: the same
answers "d[2]['stats']['prompt_tokens'] - d[2]['stats']['cached_tokens'] <= 64" # a block that the first answer has filled

# another process, on other devices, goes on without computing the conversation again
printf '/load saved.json\nWhat is the capital of France?\n' >script
chats --json -n 20 -d pocl/1+1 || fail "chat --json after /load: exit $? ($(cat err))"
answers "'Paris' in d[0]['text'] and d[0]['stats']['prompt_tokens'] - d[0]['stats']['cached_tokens'] <= 24"
echo x >>saved.json.keys
chats -n 2 || fail "chat with damaged keys: exit $? ($(cat err))"
grep -q 'saved.json.keys: .* bytes, expected .*; the next turn computes them again' err || fail "chat: damaged keys: $(cat err)"
rm saved.json.keys
chats -q -n 2 || fail "chat without keys: exit $? ($(cat err))"

printf 'What is the capital of France?\n/stats\n' >script
chats -q -n 20 || fail "chat: exit $? ($(cat err))"
grep -q Paris out || fail "chat: no answer in $(cat out)"
grep -q 'context: .* tokens' err || fail "chat: /stats: $(cat err)"

# the answer to one message is that of run --chat
echo "$question" >script
chats -q -n 60
"$evener" run "${greedy[@]}" -q --chat -p "$question" -n 60 >once
[ "$(cat out)" = "$(cat once)" ] || fail "chat and run --chat differ: $(cat out once)"

# what is wrong ends the chat in a pipe, and is one line
wrong() {
	printf '%s\n' "$2" >script
	chats -q -n 5 && fail "chat: '$2' is no error"
	grep -qF "$1" err && [ "$(wc -l <err)" = 1 ] || fail "chat: '$1' is not in: $(cat err)"
}
sed 's/Bob/Rob/' saved.json >damaged.json
echo '{"format": 1}' >other.json
wrong 'damaged.json: the file was changed or is damaged: its checksum is' '/load damaged.json'
wrong 'other.json: not a conversation' '/load other.json'
wrong 'nowhere.json' '/load nowhere.json'
wrong 'nowhere/x.json' '/save nowhere/x.json'
wrong '/save needs a FILE' /save
wrong 'unknown command /sav; did you mean /save?' '/sav x'
wrong 'there is no answer yet' /regen
wrong 'leaves no room in the context of' "$(printf 'word %.0s' {1..9000})"
printf '\xff\n' >script
chats -q && fail 'chat: a message that is not UTF-8 is no error'
grep -q 'not UTF-8' err || fail "chat: $(cat err)"
printf '' >script
chats -q || fail "chat without a message: exit $?"

python3 "$repo/tests/cli/chat_terminal.py" "$evener" "$model" "$dir" || fail 'chat on a terminal'

finish
