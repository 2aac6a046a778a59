#!/usr/bin/env bash
# proposed.sh EVENER SOURCE - the set that the planner chooses is not slower than any of its devices alone, in decode and in
# prefill. Tested with one driver, with PoCL and Intel's runtime, and with three vendors. Measured in turn; medians of rounds.
. "$(dirname "$0")/lib.sh"
need_model
rounds=3
noise=0.04 # medians of three of one set were seen so far apart

# vendors NAME...: show only these drivers.
vendors() {
	local name
	export OCL_ICD_VENDORS=$dir/vendors-${*// /-}
	mkdir -p "$OCL_ICD_VENDORS"
	for name; do
		[ -e "$all/$name.icd" ] || skip "no driver $name"
		cp "$all/$name.icd" "$OCL_ICD_VENDORS/"
	done
}

# speed LIST: prints one measurement: LIST, prefill, decode, the devices. "planned" is the planner's own choice.
speed() {
	local list=()
	[ "$1" = planned ] || list=(-d "$1")
	"$evener" bench -m "$model" -c 1024 -p 512 -n 64 -r 1 --no-alone --json "${list[@]}" 2>err | python3 -c '
import json, sys
d = json.load(sys.stdin)
print(sys.argv[1], d["together"]["prefill_tok_s"], d["together"]["decode_tok_s"], "+".join(d["devices"]))' "$1"
}

# A device that was planned in every round is not compared with itself: its measurements are put together.
compare() {
	python3 -c '
import statistics, sys
noise, speeds, chosen, slower = float(sys.argv[1]), {}, set(), False
for line in open("speeds"):
    name, prefill, decode, devices = line.split()
    speeds.setdefault(name, []).append((float(prefill), float(decode)))
    if name == "planned":
        chosen.add(devices)
print("  planned:", *chosen)
if len(chosen) == 1:
    speeds["planned"] += speeds.pop(*chosen, [])
for column, phase in enumerate(("prefill", "decode")):
    medians = {name: statistics.median(v[column] for v in values) for name, values in speeds.items()}
    planned = medians.pop("planned")
    for name, alone in medians.items():
        print(f"  {phase}: planned {planned:.1f}, {name} alone {alone:.1f} tokens/s")
        slower |= planned < (1 - noise) * alone
sys.exit(slower)' "$noise"
}

# not_slower NAME...: check with these drivers, against each of their devices except slow ones.
not_slower() {
	local devices device i
	vendors "$@"
	devices=$("$evener" devices --json | python3 -c '
import json, sys
print(*(d["id"] for d in json.load(sys.stdin)["devices"] if d["usable"] and d["platform"] != "rusticl"))')
	rm -f speeds
	for ((i = 0; i < rounds; i++)); do
		for device in planned $devices; do
			speed "$device" >>speeds || fail "$*: $device could not be measured: $(tail -n 1 err)"
		done
	done
	echo "$*:"
	compare || fail "$*: what was planned is slower than a device alone"
}

all=${OCL_ICD_VENDORS-}
[ -d "$all" ] || skip 'OCL_ICD_VENDORS names no folder of drivers'
not_slower pocl
not_slower intel
not_slower pocl intel
not_slower pocl intel rusticl
finish
