"""Random JSON Schemas of the kinds that JSONSchemaBench has: what a grammar lets through is valid by Python's jsonschema.

schemas_test.py GRAMMAR_TEXTS SCHEMAS TEXTS: so many schemas, the same in every run, and so many texts of each. It prints a
table of the times. It exits with 77 if the model or jsonschema is missing."""
import json
import os
import statistics
import subprocess
import sys

from random_schemas import Maker

sys.path.insert(0, os.environ.get("EVENER_CLIENTS_DIR", ""))
try:
    import jsonschema
except ImportError:
    print("skipped: jsonschema is missing")
    sys.exit(77)
MODEL = os.environ.get("EVENER_TEST_MODEL", "")
if not os.path.exists(MODEL):
    print("skipped: EVENER_TEST_MODEL names no file")
    sys.exit(77)

def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else float("nan")


def main():
    program, n_schemas, n_texts = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    schemas = [Maker(seed).root() for seed in range(n_schemas)]
    lines = "".join(json.dumps(s) + "\n" for s in schemas)
    done = subprocess.run([program, MODEL, n_texts], input=lines, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"grammar_texts ended with {done.returncode}: {done.stderr}")
    compiles, masks, n_valid, refused, wrong = [], [], 0, [], 0
    for schema, line in zip(schemas, done.stdout.split("\n")):
        result = json.loads(line)
        if "error" in result or result["failed"]:
            refused.append((result.get("error") or result["failed"], schema))
            continue
        compiles.append(result["compile_ms"])
        masks += result["mask_us"]
        validator = jsonschema.Draft202012Validator(schema)
        for text in result["texts"]:
            try:
                validator.validate(json.loads(text))
                n_valid += 1
            except (ValueError, jsonschema.ValidationError) as e:
                wrong += 1
                print("not valid:", str(e).split("\n")[0], "\n schema", json.dumps(schema)[:1500], "\n text", text[:600])
    for why, schema in refused:
        print("refused:", why, json.dumps(schema)[:300])
    print(f"{len(schemas)} schemas, {len(refused)} refused, {n_valid} valid texts, {wrong} others")
    print(f"{'':16}{'mean':>10}{'median':>10}{'p99':>10}{'most':>10}")
    for name, values in (("compile, ms", compiles), ("mask, us", masks)):
        print(f"{name:16}{statistics.fmean(values):10.2f}{quantile(values, 0.5):10.2f}{quantile(values, 0.99):10.2f}{max(values):10.2f}")
    sys.exit(bool(wrong or n_valid < 2 * n_schemas or len(refused) > n_schemas // 20))


main()
