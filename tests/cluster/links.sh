#!/usr/bin/env bash
# links.sh EVENER REPO MPIRUN WIRE - 2, 3 and 4 nodes of unequal devices give the ids of one process over links with 100 us
# and 1 ms of delay, at 1 and 10 Gbit/s, with messages of each format. Drivers of different vendors, too. Prints what was
# measured: the time of an exchange of one token's messages, prompt and decoding.
here=$(dirname "$(realpath "$0")")
. "$here/../cli/lib.sh"
. "$here/lib.sh"
. "$here/networks.sh"
wire_program=$(realpath "$4")
without rusticl
export EVENER_LOG=info
prompt=$(yes 'The capital of France is' | head -24)
common=(-m "$model" -c 256 -n 12 --temp 0 --json -p "$prompt")

# report FILE WHAT: a line of what was measured; the ids go to the file ids
report() {
	python3 - "$1" "$2" <<'END'
import json, re, sys
d = json.load(open(sys.argv[1]))
s = d["stats"]
open("ids", "w").write(str(d["ids"]))
took = re.search(r"messages of a token in (\d+) us", open("err").read())
print("%-42s exchange %6s us, prompt %7.1f tokens/s, decode %6.1f tokens/s" % (
    sys.argv[2], took.group(1) if took else "-", s["prefill_tok_s"], s["decode_tok_s"]))
END
}

# alone DEVICES SHARES MESSAGES
alone() {
	"$evener" run "${common[@]}" -d "$1" --shares "$2" --messages "$3" >out 2>err </dev/null || fail "one process: $(tail -3 err)"
	report out "one process, $1, $3" || fail "one process: no figures: $(head -c 300 out)"
	mv ids expected
}

# over DELAY_US MBIT DEVICES SHARES MESSAGES: a node for each device
over() {
	local devices shares i what="$3, $5, $1 us, $2 Mbit/s"
	IFS=, read -ra devices <<<"$3"
	IFS=, read -ra shares <<<"$4"
	networks "${#devices[@]}" "$wire_program" "$1" "$2"
	for i in "${!devices[@]}"; do
		node "$i" "$evener" run "${common[@]}" -d "${devices[i]}" --shares "${shares[i]}" --messages "$5"
	done
	start >out 2>err || fail "$what: exit $? ($(tail -c 600 err))"
	report out "$what" || fail "$what: no figures: $(head -c 300 out)"
	cmp -s ids expected || fail "$what: ids $(cat ids), expected $(cat expected)"
	remove_networks
}

if [ -e drivers/intel.icd ]; then
	export POCL_MAX_PTHREAD_COUNT=1 DPCPP_CPU_NUM_CUS=1
	alone pocl,intel 2,1 f32
	over 100 1000 pocl,intel 2,1 f32
	unset POCL_MAX_PTHREAD_COUNT DPCPP_CPU_NUM_CUS
	rm drivers/intel.icd
fi
for messages in f32 f16 bf16 q8; do
	alone pocl/1@0,pocl/1@1 2,1 "$messages"
	over 100 10000 pocl/1@0,pocl/1@1 2,1 "$messages"
	over 1000 1000 pocl/1@0,pocl/1@1 2,1 "$messages"
done
alone pocl/1@0,pocl/1@1,pocl/1@0 3,2,1 f32
over 100 1000 pocl/1@0,pocl/1@1,pocl/1@0 3,2,1 f32
alone pocl/1@0,pocl/1@1,pocl/1@0,pocl/1@1 3,2,1,1 f32
over 1000 10000 pocl/1@0,pocl/1@1,pocl/1@0,pocl/1@1 3,2,1,1 f32
finish
