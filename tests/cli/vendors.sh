#!/usr/bin/env bash
# vendors.sh EVENER SOURCE plan|run|cores - drivers of three vendors on one chip. The planner keeps one of them and says why
# it leaves out the others. An explicit list with shares works with all three and gives the ids of the reference. Two CPU
# drivers in a list each get a part of the cores. Exit 77 without the model or a driver.
. "$(dirname "$0")/lib.sh"
need_model
reference=$repo/tests/data/greedy-f32.json
devices=$("$evener" devices --json | python3 -c '
import json, sys
print(*sorted(d["platform"] for d in json.load(sys.stdin)["devices"] if d["usable"]))')
for driver in intel pocl rusticl; do
	[[ " $devices " == *" $driver "* ]] || skip "no device of driver $driver"
done

check_plan() {
	"$evener" plan -m "$model" -c 512 --json | python3 -c '
import json, sys
plan = json.load(sys.stdin)
taken = {r["device"].split("/")[0] for r in plan["ranks"]}
assert len(taken) == 1, plan["ranks"]
dropped = {d["device"]: d["reason"] for d in plan["dropped"]}
assert len({d.split("/")[0] for d in dropped} - taken) == 2, dropped
for device, reason in dropped.items():
    print(device, reason)
    assert device.split("/")[0] in taken or "same chip as " + taken.copy().pop() in reason, reason
    assert "tokens/s" in reason, reason
p = plan["predicted"]
assert p["decode_tok_s"] >= p["best_single"]["decode_tok_s"] > 0, p'
}

check_run() {
	"$evener" run -m "$model" -c 512 -d pocl,intel,rusticl --shares 6,6,1 -p "The capital of France is" -n 4 --temp 0 \
		--json | python3 -c '
import json, sys
run, case = json.load(sys.stdin), json.load(open(sys.argv[1]))["cases"][0]
assert run["prompt_ids"] == case["prompt_ids"] and run["ids"] == case["ids"][:4], run["ids"]
ranks = run["stats"]["ranks"]
assert len(ranks) == 3 and all(abs(r["share"] - s / 13) < 0.02 for r, s in zip(ranks, (6, 6, 1))), ranks' "$reference"
}

# limits LIST: the settings that evener makes for a list, as "VARIABLE=N of CORES ". The command asks for too little memory,
# which is refused after these settings and before any measurement.
limits() {
	EVENER_LOG=info "$evener" plan -m "$model" -c 512 -d "$1" --memory 1MiB 2>&1 >/dev/null |
		sed -n 's/.* is limited to \([0-9]*\) of \([0-9]*\) cores (\([A-Z_]*\)).*/\3=\1 of \2/p' | sort | tr '\n' ' '
}

check_cores() {
	unset POCL_MAX_PTHREAD_COUNT DPCPP_CPU_NUM_CUS
	local both cores half
	both=$(limits pocl,intel)
	cores=$(sed -n 's/.* of \([0-9]*\) $/\1/p' <<<"$both")
	half=$((cores / 2))
	echo "$both"
	[ "$both" = "DPCPP_CPU_NUM_CUS=$half of $cores POCL_MAX_PTHREAD_COUNT=$half of $cores " ] &&
		[ -z "$(limits pocl)" ] && [ -z "$(limits pocl,pocl)" ] &&
		[ "$(POCL_MAX_PTHREAD_COUNT=$half limits pocl,intel)" = "DPCPP_CPU_NUM_CUS=$half of $cores " ]
}

"check_$3"
