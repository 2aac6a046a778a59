"""The parts of the benchmark. Each adds rows {part, model, set, metric, unit, value, low, high, n} to the results."""

import itertools
import os
import shutil
import subprocess
import time

from common import ROOT, WORK, Failed, median, run

PEER = "llama.cpp"
MESSAGE_WAYS = ("host", "events", "flags")
MESSAGE_BITS = {"f32": 32, "f16": 16, "bf16": 16, "q8": 8.5}  # of a number


class Bench:
    """Shared by the parts: the programs, the sets of devices, the models, what to measure, and the results."""

    def __init__(self, evener, peer, sets, models, plan, notes):
        self.evener, self.peer, self.sets, self.models, self.plan, self.notes = evener, peer, sets, models, plan, notes
        self.rows = []
        self._dead = set()  # (set, model) pairs that failed: they are not tried again

    def add(self, part, model, name, metric, unit, values, value=None):
        values = list(values)
        self.rows.append({"part": part, "model": model, "set": name, "metric": metric, "unit": unit,
                          "value": median(values) if value is None else value, "low": min(values),
                          "high": max(values), "n": len(values)})

    def find(self, **wanted):
        return [r for r in self.rows if all(r[key] == value for key, value in wanted.items())]

    def attempt(self, key, function, *arguments):
        """The result of the function, or None and a note if it failed."""
        if key in self._dead:
            return None
        try:
            return function(*arguments)
        except Failed as failure:
            self._dead.add(key)
            self.notes.add(f"{', '.join(map(str, key))}: {failure}")
            return None


def make_models(evener, types, shipped):
    """{type: path} of the shipped model in each type."""
    models = {}
    for name in types:
        path = os.path.join(WORK, "models", f"smollm2-135m-{name.lower()}.gguf")
        if name == "Q4_1":
            path = shipped
        elif not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            print(f"model: {os.path.relpath(path, ROOT)}", flush=True)
            run([evener, "quantize", shipped, path, name])
        models[name] = path
    return models


def make_synthetic(shape, kind):
    path = os.path.join(WORK, "models", f"random-{shape}-{kind}.gguf")
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        print(f"model: {os.path.relpath(path, ROOT)}", flush=True)
        run([os.path.join(ROOT, "scripts", "make-model"), "--shape", shape, "--type", kind, path])
    return path


def machine_rates():
    """{"read_gbs": .., "fma_gflops": ..}: what the cores read and compute now, without OpenCL."""
    program = os.path.join(WORK, "machine")
    source = os.path.join(ROOT, "bench", "machine.c")
    if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
        subprocess.run(["cc", "-O3", "-march=native", "-pthread", source, "-o", program], check=True)
    return {metric: float(value) for metric, value in map(str.split, filter(None, run([program]).output.split("\n")))}


def measure_machine(bench):
    """Measures the bounds, again before every long part, because machines drift."""
    for metric, value in machine_rates().items():
        unit = {"read_gbs": "GB/s", "fma_gflops": "GFLOP/s"}[metric]
        bench.add("machine", "", "", metric, unit, [value])


def bound(bench, metric):
    return median([r["value"] for r in bench.find(part="machine", metric=metric)])


# ---- speed beside the peer -----------------------------------------------------------------------------------------


def _by_plan(bench, name, path):
    """{a set: [its name and the names of later sets with the same plan]}. Each is measured once."""
    found = {}
    for devices in bench.sets:
        got = bench.attempt((devices.name, name), bench.evener.json, devices, "plan", "-m", path, "-c", "1024", "--measure")
        if got:
            ranks = [(r["name"], r["device"].partition("/")[2]) for r in got[0]["ranks"]]
            found.setdefault(str((ranks, devices.limits)), (devices, []))[1].append(devices.name)
    for _, names in found.values():
        if len(names) > 1:
            bench.notes.add(f"{name}: planned onto the same devices, measured once: {'; '.join(names)}")
    return list(found.values())


def _runners(bench, groups, path, shot, repeats):
    """[(names of sets, function that measures once: speeds, peak bytes, answer or None)], the peer first."""
    def peer():
        return (*bench.peer.measure(path, *shot, repeats), None)

    runners = [([PEER], peer)] if bench.peer else []
    for devices, names in groups:
        runners.append((names, lambda d=devices: bench.evener.measure(d, path, *shot, repeats)))
    return runners


def _metric(phase, shot):
    prefill, decode, depth = shot
    return f"prefill {prefill}" if phase == "prefill" else f"decode {decode} at {depth}"


def _named(shot):
    return ", ".join(_metric(phase, shot) for phase, tokens in zip(("prefill", "decode"), shot) if tokens)


def measure_speed(bench):
    """Every length of prompt and context for every file type. Each plan is made just before its first measurement and not
    from older profiles, because predictions are compared with it."""
    bench.evener.forget_profiles()
    groups = {}
    for shot in bench.plan["shots"]:
        if time.monotonic() > bench.plan["until"]:
            bench.notes.add(f"for lack of time not measured: {_named(shot)} and what follows")
            break
        measure_machine(bench)
        for name, path in bench.models.items():
            groups[name] = groups.get(name) or _by_plan(bench, name, path)
            samples, memory = _measure_shot(bench, shot, name, path, groups[name])
            _add_speeds(bench, name, shot, samples, ("speed", "ratio"))
            if shot[0] == 512:
                for who, peaks in memory.items():
                    bench.add("memory", name, who, "peak at prefill 512", "MB", [p / 1e6 for p in peaks], max(peaks) / 1e6)


def measure_large(bench):
    """A larger model, in formats whose blocks of 256 do not divide the rows of the small one: one prefill and one decode."""
    shot = bench.plan["shots"][0]
    if bench.plan["large"]:
        measure_machine(bench)
    for name, path in bench.plan["large"].items():
        samples, _ = _measure_shot(bench, shot, name, path, _by_plan(bench, name, path))
        _add_speeds(bench, name, shot, samples, ("speed of 1B", "ratio of 1B"))


def _measure_shot(bench, shot, name, path, groups):
    """({(set, phase): speeds}, {set: peak bytes}). Programs and sets alternate, round after round, so that a machine that
    slows down slows all of them alike. Deep contexts take long to fill, so they have two rounds with repetitions inside."""
    rounds, repeats = (2, -(-bench.plan["pairs"] // 2)) if shot[2] else (bench.plan["pairs"], 1)
    samples, memory, answers, reads_gbs = {}, {}, {}, []
    for turn in range(rounds):
        reads_gbs.append(machine_rates()["read_gbs"])
        for names, measure in _runners(bench, groups, path, shot, repeats):
            got = bench.attempt((names[0], name), measure)
            if not got:
                continue
            speeds, peak, answer = got
            for who in names:
                for phase, values in speeds.items():
                    samples.setdefault((who, phase), []).append(median(values))
                memory.setdefault(who, []).append(peak)
                answers[who] = answer
            told = ", ".join(f"{_metric(p, shot)} {median(v):.1f}" for p, v in speeds.items())
            print(f"{name}  round {turn + 1} of {rounds}  {names[-1]}: {told} tokens/s", flush=True)
    _add_bytes(bench, name, shot, samples, answers, reads_gbs)
    return samples, memory


def _add_speeds(bench, name, shot, samples, parts):
    speed, ratio = parts
    for (who, phase), values in samples.items():
        bench.add(speed, name, who, _metric(phase, shot), "tokens/s", values)
        peer = samples.get((PEER, phase))
        if peer and who != PEER:
            ratios = [own / other for own, other in zip(values, peer)]
            bench.add(ratio, name, who, _metric(phase, shot), "of llama.cpp", ratios)


def _add_bytes(bench, name, shot, samples, answers, reads_gbs):
    """Weight bytes that decode reads per second, against the best read rate of the cores in the same round."""
    if shot[2] or not shot[1]:
        return
    for who, answer in answers.items():
        if answer and (who, "decode") in samples:
            gbs = [v * answer["decode_bytes"] * 1e-9 for v in samples[who, "decode"]]
            bench.add("bytes", name, who, "decode", "GB/s", gbs)
            bench.add("bytes", name, who, "decode", "of read bandwidth", [own / best for own, best in zip(gbs, reads_gbs)])


# ---- evener alone --------------------------------------------------------------------------------------------------


def measure_predictions(bench):
    for (name, path), devices in itertools.product(bench.models.items(), bench.sets):
        got = bench.attempt((devices.name, name), bench.evener.json, devices, "plan", "-m", path, "-c", "1024")
        if not got:
            continue
        plan = got[0]
        chosen = " ".join(f"{r['device']} {100 * r['share_decode']:.0f} %" for r in plan["ranks"])
        bench.notes.add(f"{devices.name}, {name}: {chosen}"
                        + (f", sums by {plan['reduce']}" if len(plan["ranks"]) > 1 else ""))
        for phase, metric in (("decode", "decode {} at 0"), ("prefill", "prefill 512")):
            predicted = plan["predicted"][phase + "_tok_s"]
            bench.add("predicted", name, devices.name, phase, "tokens/s", [predicted])
            wanted = metric.format(bench.plan["shots"][0][1])
            for row in bench.find(part="speed", model=name, set=devices.name, metric=wanted):
                bench.add("predicted", name, devices.name, phase, "of measured", [predicted / row["value"]])


def measure_efficiency(bench):
    """Together ÷ sum of alone, for sets of several ranks, with the shipped model and a larger one."""
    models = {"Q4_1": bench.models.get("Q4_1"), "random 1B Q4_0": bench.plan["synthetic"]}
    for (name, path), devices in itertools.product(models.items(), bench.sets):
        if not path or not devices.devices or devices.devices == "pocl":
            continue
        repeats = bench.plan["pairs"] if name == "Q4_1" else 2
        print(f"efficiency of {devices.name}, {name}", flush=True)
        got = bench.attempt((devices.name, name), bench.evener.json, devices, "bench", "-m", path, "-p",
                            str(bench.plan["efficiency_prompt"]), "-n", str(bench.plan["shots"][0][1]), "-r", str(repeats))
        if not got:
            continue
        for phase in ("prefill", "decode"):
            bench.add("efficiency", name, devices.name, phase, "together / sum of alone", [got[0]["efficiency"][phase]])
            for alone in got[0]["alone"]:
                speed, least_most = alone[phase + "_tok_s"], alone[phase + "_range"]
                bench.add("efficiency", name, f"{devices.name}: {alone['device']} alone", phase, "tokens/s", least_most, speed)


def measure_sums(bench):
    """Latency of the all-reduce by message length and reduction method."""
    path = next(iter(bench.models.values()))
    for devices, way in itertools.product(bench.sets, MESSAGE_WAYS):
        if not devices.devices or devices.devices == "pocl" or (way == "events" and len(devices.vendors) > 1):
            continue
        print(f"all_reduce of {devices.name} by {way}", flush=True)
        got = bench.attempt((devices.name, "all_reduce by " + way), bench.evener.json, devices, "bench", "-m", path, "-p",
                            "512", "-n", "1", "-r", "1", "--no-alone", "--reduce", way)
        for message in got[0]["all_reduce"] if got else []:
            bench.add("all_reduce", way, devices.name, f"{message['bytes']} bytes", "us", [message["us"]])


def measure_messages(bench):
    """Formats of long messages: bytes sent for a token of a prompt, prefill speed (formats in turn), perplexity."""
    path = next(iter(bench.models.values()))
    text = os.path.join(ROOT, "tests", "data", "persuasion-20k.txt")
    for devices in bench.sets:
        if not devices.devices or devices.devices == "pocl":
            continue
        print(f"messages of {devices.name}", flush=True)
        got = bench.attempt((devices.name, "inspect"), bench.evener.json, devices, "inspect", path)
        for kind, bits in MESSAGE_BITS.items() if got else ():
            sent = 2 * got[0]["n_layers"] * got[0]["dim"] * bits / 8
            bench.add("messages", kind, devices.name, "a rank sends, bytes/token", "bytes", [sent])
        _add_message_speeds(bench, devices, path)
        _add_message_perplexity(bench, devices, ["score", "-m", path, "-f", text, "--ctx", "512", "--windows",
                                                 bench.plan["windows"], "--split", "tensor", "--activations", "f32"])


def _add_message_speeds(bench, devices, path):
    speeds = {kind: [] for kind in MESSAGE_BITS}
    for _, kind in itertools.product(range(bench.plan["pairs"]), MESSAGE_BITS):
        got = bench.attempt((devices.name, "messages", kind), bench.evener.json, devices, "bench", "-m", path, "-p", "512",
                            "-n", "1", "-r", "3", "--no-alone", "--messages", kind)
        if got:
            speeds[kind].append(got[0]["together"]["prefill_tok_s"])
    for kind, values in speeds.items():
        if values:
            bench.add("messages", kind, devices.name, "prefill 512, tokens/s", "tokens/s", values)


def _add_message_perplexity(bench, devices, command):
    exact = None
    for kind in MESSAGE_BITS:
        got = bench.attempt((devices.name, "perplexity", kind), bench.evener.json, devices, *command, "--messages", kind)
        if not got:
            continue
        bench.add("messages", kind, devices.name, "perplexity", "", [got[0]["perplexity"]])
        exact = exact or got[0]["perplexity"]
        bench.add("messages", kind, devices.name, "moved by, %", "%", [100 * (got[0]["perplexity"] / exact - 1)])


def _tune(bench, devices, path):
    """Tuned products. The result is kept in the benchmark's cache and used by the later parts."""
    print(f"tuning the devices of {devices.name}", flush=True)
    got = bench.attempt((devices.name, "tune"), bench.evener.json, devices, "tune", "-m", path, "--budget", bench.plan["budget"])
    for d in got[0]["devices"] if got else []:
        label = f"{d['device']} {d['name']}"
        for metric, gflops in (("CLBlast before tuning", d["before_gflops"]), ("CLBlast tuned", d["gflops"])):
            if gflops and not bench.find(part="device", set=label, metric=metric):
                bench.add("device", "", label, metric, "GFLOP/s", [gflops])
                bench.add("device", "", label, metric, "of the machine's peak", [gflops / bound(bench, "fma_gflops")])


def measure_gemm(bench):
    for devices in bench.sets:
        if devices.devices:
            continue
        _tune(bench, devices, next(iter(bench.models.values())))
        print(f"GEMM and bandwidth of each device: {devices.name}", flush=True)
        got = bench.attempt((devices.name, "devices"), bench.evener.json, devices, "devices", "--measure")
        for d in got[0]["devices"] if got else []:
            if not d["usable"] or d["gemm_gflops"] is None:
                continue
            label = f"{d['id']} {d['name']}"
            if bench.find(part="device", set=label, metric="gemm_gflops"):
                continue
            for metric, unit, of in (("gemm_gflops", "GFLOP/s", "fma_gflops"), ("gemv_gbs", "GB/s", "read_gbs")):
                bench.add("device", "", label, metric, unit, [d[metric]])
                bench.add("device", "", label, metric, "of the machine's peak", [d[metric] / bound(bench, of)])


def measure_start(bench):
    """Seconds from the start of evener run to its first byte of text, first without any cache, then with caches."""
    path = bench.models.get("Q4_1") or next(iter(bench.models.values()))
    for devices in bench.sets:
        if devices.devices:
            continue
        folder = os.path.join(WORK, "fresh")
        shutil.rmtree(folder, ignore_errors=True)
        caches = {"EVENER_CACHE_DIR": os.path.join(folder, "cache"), "POCL_CACHE_DIR": os.path.join(folder, "pocl")}
        for metric, times in (("cold", 1), ("warm", bench.plan["pairs"])):
            print(f"{metric} start of {devices.name}", flush=True)
            got = [bench.attempt((devices.name, "start"), bench.evener.first_token, devices, path, caches)
                   for _ in range(times)]
            got = [g for g in got if g]
            if got:
                bench.add("start", "Q4_1", devices.name, metric, "s to the first token", [g[0] for g in got])
                bench.add("memory", "Q4_1", devices.name, f"peak of a {metric} start", "MB", [g[1] / 1e6 for g in got])
