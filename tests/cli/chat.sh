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

refuse 2 'variables: not JSON' run "${greedy[@]}" --chat --chat-variables '{"messages": 1' -p a
refuse 1 'template, line 2: ' run "${greedy[@]}" --chat --chat-template <(printf '\n{{ 1 +}}') -p a
refuse 2 'no tools here' run "${greedy[@]}" --chat --chat-template <(echo "{{ raise_exception('no tools here') }}") -p a
refuse 2 '--stop: must not be empty' run "${greedy[@]}" -p a --stop ''

finish
