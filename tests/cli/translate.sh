#!/usr/bin/env bash
# translate.sh EVENER REPO - evener run with an encoder and a decoder: greedy and with beams against float64, on one rank and on
# three; what is drawn; what is refused.
. "$(dirname "$0")/lib.sh"
python3 -c 'import numpy' 2>/dev/null || skip 'python3 has no numpy'
without mesa rusticl intel
python3 "$repo/tests/cli/translate.py" make t5.gguf || exit 1
check() { python3 "$repo/tests/cli/translate.py" check t5.gguf "$evener" "$@" || fail "$*"; }
run() { "$evener" run -m t5.gguf -d pocl "$@"; }

check 'the cat sat' 30 1 1 -- -d pocl --temp 0
check 'the cat sat' 80 3 1 -- -d pocl # longer than a cache block
check 'a dog' 30 4 0.5 -- -d pocl
check 'a dog' 30 4 2 -- -d pocl,pocl,pocl --shares 1,4,2
check 'the end of it, and more of it' 12 5 1 -- -d pocl,pocl,pocl --shares 3,0,2

run -p 'the cat' -n 12 --seed 4 --temp 1.5 >a && run -p 'the cat' -n 12 --seed 4 --temp 1.5 | cmp - a || fail 'a seed: other text'
run -p 'the cat' -n 12 --seed 5 --temp 1.5 | cmp -s - a && fail 'another seed: the same text'
[ "$(run -p 'the cat' -n 0 | wc -c)" -le 1 ] || fail '-n 0: text'

refuse() { # MESSAGE OPTION...
	run "${@:2}" >out 2>err && fail "${*:2}: no error"
	[ -s out ] && fail "${*:2}: output"
	grep -q "$1" err || fail "${*:2}: $(cat err)"
}
refuse 'an encoder and a decoder' -p x --chat
refuse 'ignore-eos has no meaning' -p x --beams 2 --ignore-eos
refuse 'fit into the context\|reads 1 to\|at most' -p "$(printf 'x%.0s' {1..300})" --beams 2
"$evener" logits -m t5.gguf -d pocl --ids 0 >out 2>err && fail 'logits without a text'
grep -q 'has read no text' err || fail "logits: $(cat err)"
"$evener" batch -m t5.gguf -d pocl -p '{text}' out.txt <a >/dev/null 2>err && fail batch
finish
