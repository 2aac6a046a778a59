#!/usr/bin/env bash
# trace.sh EVENER REPO - what --trace writes, what `timeline` draws of it, and traces that are none.
. "$(dirname "$0")/lib.sh"
without rusticl intel

refuse 2 'no trace; give FILE.json' timeline
refuse 2 'give -o OUT.svg' timeline t.json
refuse 1 'nosuch.json' timeline nosuch.json -o t.svg
for bad in '{' '{"traceEvents": 1}' '[{"ph":"M"}, 5]' '[]' '[{"ph":"X","pid":1,"tid":1,"cat":"step","ts":1}]' \
	'[{"ph":"X","pid":1,"tid":1,"cat":"step","ts":1,"dur":-1}]' '[{"ph":"X","pid":1,"tid":1,"cat":"step","ts":1,"dur":0}]'; do
	printf '%s' "$bad" >bad.json
	"$evener" timeline bad.json -o bad.svg >out 2>err && fail "$bad is no trace"
	[ "$(wc -l <err)" = 1 ] && grep -q '^evener: ' err || fail "$bad: not one clear line: $(head -c 300 err)"
	[ ! -e bad.svg ] || fail "$bad: a picture all the same"
done
printf '[{"ph":"M"}, 5]' >bad.json
refuse 1 'bad.json: event 1: expected an object' timeline bad.json -o t.svg

"$evener" devices -q 2>/dev/null | grep -q 0:0 || skip 'no OpenCL device'
made=(--architecture llama --vocab 257 --dim 64 --layers 2 --heads 4 --kv-heads 2 -c 64 -p abc -n 4 --temp 0
	--ignore-eos -q)
refuse 1 'nowhere/t.json: could not write' run "${made[@]}" -d 0:0 --trace nowhere/t.json
"$evener" run "${made[@]}" -d 0:0/1+1 --shares 1,1 --reduce host >plain 2>err || fail "run: $(head -c 300 err)"

# traced NAME KINDS ARGS...: the text is that of a run without a trace, and the trace holds what it should.
traced() {
	local name=$1 kinds=$2
	shift 2
	"$evener" run "${made[@]}" --trace "$name.json" "$@" >text 2>err || fail "$name: exit $? ($(head -c 300 err))"
	cmp -s text plain || fail "$name: another text with a trace"
	python3 - "$name.json" "$kinds" <<'PY' || fail "$name: the trace is not as said"
import json, sys
events = json.load(open(sys.argv[1]))
spans = [e for e in events if e["ph"] == "X"]
tracks = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
steps = [e for e in spans if e["cat"] == "step"]
assert [e["args"]["tokens"] for e in steps] == [0, 1, 1, 1] and steps[0]["args"]["prompt_tokens"] == 3, steps
ranks = sorted({e["tid"] for e in spans if 10 <= e["tid"] < 100})
assert len(ranks) == (1 if "alone" in sys.argv[1] else 2) and all(r in tracks for r in ranks), (ranks, tracks)
for rank in ranks:
    own = [e for e in spans if e["tid"] == rank]
    for before, after in zip(own, own[1:]):
        assert before["ts"] + before["dur"] <= after["ts"] + 0.01, (before, after)
    for e in own:
        assert any(s["ts"] - 1 <= e["ts"] and e["ts"] + e["dur"] <= s["ts"] + s["dur"] + 1 for s in steps), e
    names = {e["name"] for e in own}
    assert {f"layer {i} {what}" for i in (0, 1) for what in ("attention", "feed-forward")} | {"output"} <= names, names
    assert sum(e["cat"] == "attention" for e in own) == 2 * len(steps), own
for kind in sys.argv[2].split():
    assert any(e.get("cat") == kind for e in spans), kind
assert any(e["cat"] == "kernel" for e in spans) == ("kernel" in sys.argv[2])
request = [(e["ph"], e["name"], e["args"]["tokens"]) for e in events if e.get("cat") == "request"]
assert request[-2:] == [("b", "request 1: answer", 4), ("e", "request 1: answer", 4)], request
PY
}
traced events 'wait all-reduce' -d 0:0/1+1 --shares 1,1 --reduce events
traced host 'wait all-reduce kernel' -d 0:0/1+1 --shares 1,1 --reduce host --trace-kernels
traced alone 'all-reduce' -d 0:0 --shares 1

"$evener" timeline host.json -o host.svg --token 2 >out 2>err || fail "timeline: $(head -c 300 err)"
python3 -c 'import sys, xml.dom.minidom as x; sys.exit(x.parse("host.svg").documentElement.tagName != "svg")' || fail 'host.svg is no SVG'
[ "$(wc -l <out)" = 3 ] && grep -q '^0:0/1@1 ' out || fail "the table of two ranks: $(cat out)"
"$evener" timeline events.json -o events.png >out 2>err || fail "timeline: $(head -c 300 err)"
[ "$(od -An -tx1 -N8 events.png | tr -d ' ')" = 89504e470d0a1a0a ] || fail 'events.png is no PNG file'
refuse 2 '--token 4: events.json has 3 tokens' timeline events.json -o t.svg --token 4
finish
