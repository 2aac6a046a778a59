#!/usr/bin/env bash
# classify.sh EVENER REPO - evener classify: a model's own head against float64; a head learned from records, on one rank and on
# two; what it prints and refuses.
. "$(dirname "$0")/lib.sh"
without mesa rusticl intel
encoder() { python3 "$repo/tests/cli/encoder.py" "$@" || fail "$*"; }

encoder make-head h.gguf folder
printf '%s\n' 'the cat and the dog' 'The dogs, and cats.' a the 'x1 y2 z3, w4 v5 u6. the and the and the cat' 'queueing zebras' >texts
for i in {1..8}; do echo "the $i cats and dog number $i sat on $i"; done >>texts
encoder check-head folder "$evener" folder texts -- -d pocl
encoder check-head folder "$evener" h.gguf texts -- -d pocl/1+1 --shares 9,1 # one rank has no heads
"$evener" quantize folder q.gguf F32 >/dev/null && encoder check-head folder "$evener" q.gguf texts -- -d pocl
printf 'a\nthe cat\n' | "$evener" classify -m h.gguf -d pocl >lines || fail 'lines: failed'
[[ $(sed -n 2p lines) =~ ^(sad|glad|neither of both)$'\t'0\.[0-9]{4}$'\t'the\ cat$ ]] || fail "lines: $(cat lines)"

# Records that differ in a word: the class can be learned, and it does not depend on the ranks.
python3 - <<'PY'
import csv, random
draw = random.Random(2)
for name, n in (("known.csv", 60), ("new.csv", 20)):
    with open(name, "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["animal", "class", "a, b"])
        for _ in range(n):
            animal = draw.choice(["cat", "dog"])
            w.writerow([animal, {"cat": 'says "meow"', "dog": "barks"}[animal], draw.choice(["the", "and", "", "x, y"])])
PY
"$evener" classify -m folder -d pocl -f known.csv --label class --learn head.gguf --json >learned.json 2>err || fail "learn: $(tail -1 err)"
"$evener" classify -m folder -d pocl/1+1 -f known.csv --label class --learn head2.gguf >learned.txt 2>err || fail "learn on two ranks: $(tail -1 err)"
for d in pocl pocl/1+1; do
	"$evener" classify -m folder -d $d -f new.csv --label class --head head.gguf --json >"new.${d//\//-}" || fail "$d: failed"
done
"$evener" classify -m folder -d pocl -f new.csv --label class --head head2.gguf --json >new.2 || fail 'second head: failed'
"$evener" classify -m folder -d pocl -f new.csv --label class --head head.gguf >new.txt 2>err || fail 'new records: failed'
grep -q '^20 of 20 records have the class of the file, 100.0 %' err || fail "new records: $(cat err)"
python3 - <<'PY' || fail 'what was learned'
import json
d = json.load(open("learned.json"))
assert d["labels"] == ["barks", 'says "meow"'] and d["learned"] == 48 and d["held_out"] == 12, d
assert d["accuracy"] == d["held_out_accuracy"] == 1 and sum(map(sum, d["confusion"])) == 12 and d["confusion"][0][1] == 0, d
runs = [json.load(open(n)) for n in ("new.pocl", "new.pocl-1+1", "new.2")]
assert all(r["accuracy"] == 1 and len(r["texts"]) == 20 for r in runs), runs
for a, b in ((0, 1), (0, 2)):
    assert all(abs(x - y) < 1e-4 for t, u in zip(runs[a]["texts"], runs[b]["texts"]) for x, y in zip(t["p"], u["p"]))
lines = open("new.txt").read().splitlines()
assert all(l.split("\t")[2].startswith("animal: ") and "class" not in l for l in lines), lines
assert any(l.endswith("; a, b: x, y") for l in lines) and any(l.split("\t")[2] in ("animal: cat", "animal: dog") for l in lines), lines
PY
grep -q '^right class .*as barks .*as says "meow"' learned.txt || fail "no table: $(cat learned.txt)"

# A config, whose paths are relative to it.
mkdir sub && mv head.gguf sub && printf 'version: 1\nmodel: {path: ../folder}\ndevices: [{match: pocl}]\nclassify: {head: head.gguf, label: class}\n' >sub/c.yaml
"$evener" classify sub/c.yaml -f new.csv 2>err | cmp - new.txt || fail "config: $(cat err)"

learn() { refuse "$1" "$2" classify -m folder -d pocl -f bad.csv --learn x.gguf "${@:3}"; }
printf 'a,b\n1,x\n2\n' >bad.csv
learn 1 'bad.csv: the record that ends in line 3 has 1 fields, expected 2'
printf 'a,b\n1,"x\n2,y\n' >bad.csv
learn 1 'bad.csv: the quoted field that begins in line 2 has no end'
printf 'a,b\n1,"x"y\n' >bad.csv
learn 1 'line 2: expected a comma behind a quoted field'
printf 'a,b\n' >bad.csv
learn 1 'no record behind the names'
: >bad.csv
learn 1 'bad.csv: empty'
printf 'a,b\n1,x\n2,x\n' >bad.csv
learn 1 '1 classes, expected 2'
learn 1 'no column "c"' --label c
printf 'a,b\n1,x\n2,y\n3,x\n4,x\n5,z\n' >bad.csv
learn 2 'class "z" has no text among those that are learned'
refuse 2 '--learn needs records' classify -m folder -d pocl -f texts --learn x.gguf
encoder make e.gguf plain
refuse 1 'the model has no head for classes' classify -m plain -p a -d pocl
refuse 1 'head.gguf: No such file' classify -m folder -p a -d pocl --head head.gguf
refuse 1 'h.gguf: the head was learned on nothing, the model is bert of 2 blocks' classify -m folder -p a -d pocl --head h.gguf
if [ -e "${EVENER_TEST_MODEL-}" ]; then
	refuse 1 'the head was learned on bert of 2 blocks of 48' classify -m "$EVENER_TEST_MODEL" -p a -d pocl --head sub/head.gguf
fi
head -c 200 sub/head.gguf >cut.gguf
refuse 1 'cut.gguf' classify -m folder -p a -d pocl --head cut.gguf

finish
