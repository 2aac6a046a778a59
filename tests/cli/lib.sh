# lib.sh - what the scripts beside it share; each sources it with its own arguments, EVENER REPO ...: a folder of its own to
# work in, and what is expected of a command. The last line of a script is `finish`.
# shellcheck shell=bash
set -u
evener=$(realpath "$1")
repo=$(realpath "$2")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failures=0

fail() {
	printf 'FAILED: %s\n' "$*"
	failures=$((failures + 1))
}

skip() {
	echo "skipped: $*"
	exit 77
}

finish() {
	[ "$failures" = 0 ] && echo 'all as expected'
	[ "$failures" = 0 ]
	exit
}

# without NAME...: not these of the tests' drivers. Each costs every command a part of a second, sanitized more; rusticl's
# device takes a minute to be measured (vendors.sh is about it).
without() {
	local name
	[ -d "${OCL_ICD_VENDORS-}" ] || return 0
	cp -r "$OCL_ICD_VENDORS" drivers
	for name; do rm -f "drivers/$name.icd"; done
	export OCL_ICD_VENDORS=$PWD/drivers
}

# Sets `model`: SmolLM2-135M-Instruct.
need_model() {
	model=${EVENER_TEST_MODEL-}
	[ -e "$model" ] || skip 'EVENER_TEST_MODEL names no file'
}

# tells CODE CULPRIT ARGS...: the command ends with the code and one line on stderr, which names the culprit.
tells() {
	local code=$1 culprit=$2 got
	shift 2
	"$evener" "$@" >out 2>err </dev/null
	got=$?
	[ "$got" = "$code" ] || fail "$*: exit $got, expected $code ($(head -c 200 err))"
	[ "$(wc -l <err)" = 1 ] || fail "$*: $(wc -l <err) lines on stderr, expected 1: $(head -c 400 err)"
	grep -q '^evener: ' err || fail "$*: stderr does not begin with 'evener: ': $(head -c 200 err)"
	grep -qF -- "$culprit" err || fail "$*: '$culprit' is not named in: $(head -c 200 err)"
}

# refuse CODE CULPRIT ARGS...: the same, and nothing on stdout.
refuse() {
	tells "$@"
	[ ! -s out ] || fail "${*:3}: something on stdout: $(head -c 200 out)"
}

# holds PYTHON ARGS...: the command succeeds, is quiet on stderr, and PYTHON is true of its JSON d.
holds() {
	local condition=$1
	shift
	"$evener" "$@" --json >out 2>err </dev/null || fail "$*: exit $? ($(head -c 300 err))"
	[ ! -s err ] || fail "$*: something on stderr: $(head -c 300 err)"
	python3 -c "
import json, math, sys
d = json.load(open('out'), parse_constant=lambda c: sys.exit('not JSON: ' + c))
sys.exit(0 if ($condition) else 'got ' + json.dumps(d)[:600])" || fail "$*: not so: $condition"
}
