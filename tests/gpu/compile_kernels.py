#!/usr/bin/env python3
"""compile_kernels.py KERNELS [--table]: compiles the kernels that GPUs run for chips of NVIDIA and AMD, without a GPU, and
checks what the compilers say of them: no spills and no stack, registers, local memory and size of code within limits.

NVIDIA: clang and libclc to PTX. Where CUDA's ptxas is installed too, it says how many registers PTX needs; without it only
private arrays in memory are found. AMD: clang's own back end, which is the one of AMD's driver. Both are close to what the
drivers' compilers do, not equal. Needs Debian's clang-15 (or later) and libclc. Exit status 77: they are not installed."""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NVIDIA = {"sm_61": "nvptx64--nvidiacl.bc", "sm_75": "nvptx64--nvidiacl.bc", "sm_86": "nvptx64--nvidiacl.bc"}
AMD = {"gfx906": "amdgcn--amdhsa.bc", "gfx1030": "amdgcn--amdhsa.bc"}
DOTS = {"sm_61": "-DDOT_DP4A", "sm_75": "-DDOT_DP4A", "sm_86": "-DDOT_DP4A", "gfx906": "-DDOT_SDOT4", "gfx1030": "-DDOT_SDOT4"}
FORMATS = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "mxfp4", "nvfp4"]
FLOATS = ["f16", "bf16", "f32"]
# Limits of each kind of kernel: registers of a chip of NVIDIA and of AMD, bytes of code and of local memory. With 64 and 100
# registers half of a chip's warps fit; code within 16 KB fits into the instruction caches. What needs more:
#   gates      an item has a row of gate and the same row of up, so the words and scales of two
#   rows       8 sums for each row of weights; K formats hold the scales of their groups beside them
#   attention  8 queries have 8 sums and 8 scores; half of its code is libclc's exp, which drivers have in a few instructions
#   block      32 sums of an item and as many dot products; two work-groups must fit into 48 KB of local memory
LIMITS = {
    "row": (64, 100, 16 << 10, 1 << 10),
    "gates": (80, 100, 24 << 10, 4 << 10),
    "rows": (108, 100, 16 << 10, 4 << 10),
    "attention": (96, 132, 38 << 10, 10 << 10),
    "block": (128, 128, 16 << 10, 24 << 10),
    "prompt": (128, 128, 22 << 10, 26 << 10),
    "attention variant": (96, 132, 42 << 10, 10 << 10),
    "attention_prompt variant": (128, 128, 40 << 10, 26 << 10),
}
# What some models need of attention: distances with biases, alone in a decoder and over whole spans in an encoder; the memory of a
# decoder; norms of heads and all that limits scores. A bound of scores is one more exp for each.
VARIANTS = {
    "biased": "-DBIASED",
    "whole biased": "-DWHOLE -DBIASED",
    "memory": "-DMEMORY",
    "normed limited": "-DQK_NORM -DV_NORM -DLIMITED -DWINDOW -DSOFT_CAP -DSINKS -DQUERY_SCALES",
}
# Single kernels beyond these: an item takes the 8 groups of Q6_K that share words together; the joining kernel has exp three
# times; each item of `top` keeps its largest logits. A limit of registers here is for both vendors.
MORE = {
    "matvec q6_k q8": {"registers": 72},
    "matvec_experts q6_k q8": {"registers": 72},  # as matvec
    "matvec_experts q4_k q8 x8": {"registers": 108},
    "matvec_experts q5_k q8 x8": {"registers": 112},
    "attention_merge q8": {"code": 18 << 10},
    "top": {"local": 8 << 10},
}


def resolve(folder, sources):
    """The text of a program, as src/ocl/source.c makes it."""
    parts = [part.split("=") for part in sources.split()[1:]]
    lines = [f'#define {name} "{file}"' for name, file in parts]
    done = set()

    def add(path):
        if path in done:
            return
        done.add(path)
        for line in Path(folder, path).read_text().split("\n"):
            m = re.match(r"#include\s+(\S+)", line)
            if not m or m[1].startswith("<"):
                lines.append(line)
            elif m[1].startswith('"'):
                add(m[1].strip('"'))
            else:
                add(re.search(rf'^#define {m[1]} "([^"]*)"', "\n".join(lines), re.M)[1])

    add(sources.split()[0])
    return "\n".join(lines) + "\n"


def kernels():
    """(what, kernel, sources, defines, kind) of the kernels that a walk over a model needs."""
    out = []
    for quant in FORMATS + FLOATS:
        for row, dot in [("q8", "DOT"), ("f32", "")] if quant in FORMATS else [("f32", "")]:
            for tokens in (1, 8):
                options = f"-DTOKENS={tokens} {dot}"
                sources = f"WEIGHTS=quant/{quant}.cl ROW=lanes/row_{row}.cl"
                name = f"{quant} {row}{' x8' if tokens > 1 else ''}"
                out.append((f"matvec {name}", "matvec", f"lanes/matvec.cl {sources}", options, "rows" if tokens > 1 else "row"))
                out.append((f"matvec_experts {name}", "matvec_experts", f"lanes/matvec_experts.cl {sources}", options,
                            "rows" if tokens > 1 else "row"))
                if tokens == 1:
                    out.append((f"matvec_swiglu {name}", "matvec_swiglu",
                                f"lanes/matvec_swiglu.cl {sources} STORE=store_{row}.cl", options, "gates"))
            name, sources = f"{quant} {row}", f"WEIGHTS=quant/{quant}.cl BLOCK=lanes/block_{row}.cl"
            out.append((f"matmul {name}", "matmul", f"lanes/matmul.cl {sources}", dot, "block"))
            out.append((f"matmul_swiglu {name}", "matmul_swiglu", f"lanes/matmul_swiglu.cl {sources} STORE=store_{row}.cl", dot, "block"))
        out.append((f"dequantize {quant}", "dequantize", f"dequantize.cl WEIGHTS=quant/{quant}.cl", "-DLANES=1", "row"))
    for kv in ("f32", "f16", "q8_0", "q4_0"):
        for dim, queries in ((64, 3), (128, 4), (128, 8)):
            options = f"-DHEAD_DIM={dim} -DROPE_DIM={dim} -DGROUP=4 -DQUERIES={queries}"
            name = f"{kv} {dim} x{queries}"
            if queries == 4:
                out.append((f"attention {name} whole", "attention", f"lanes/attention.cl KV_CACHE=kv/{kv}.cl STORE=store_q8.cl",
                            options + " -DWHOLE", "attention"))
            out.append((f"attention {name}", "attention", f"lanes/attention.cl KV_CACHE=kv/{kv}.cl STORE=store_q8.cl", options,
                        "attention"))
        for dim, queries in ((64, 32), (80, 32), (128, 32), (256, 16), (512, 8)):
            out.append((f"attention_prompt {kv} {dim}", "attention_prompt",
                        f"lanes/attention_prompt.cl KV_CACHE=kv/{kv}.cl STORE=store_q8.cl",
                        f"-DHEAD_DIM={dim} -DROPE_DIM={dim} -DGROUP=4 -DQUERIES={queries}", "prompt"))
        out.append((f"attention_append {kv}", "attention_append", f"lanes/attention_append.cl KV_CACHE=kv/{kv}.cl", "-DHEAD_DIM=128",
                    "row"))
    for variant, options in VARIANTS.items():
        for kernel, queries in (("attention", 4), ("attention_prompt", 32)):
            out.append((f"{kernel} f16 128 {variant}", kernel, f"lanes/{kernel}.cl KV_CACHE=kv/f16.cl STORE=store_q8.cl",
                        f"-DHEAD_DIM=128 -DROPE_DIM=128 -DGROUP=4 -DQUERIES={queries} {options}", f"{kernel} variant"))
    for store in ("f32", "q8"):
        out.append((f"attention_merge {store}", "attention_merge", f"lanes/attention_merge.cl STORE=store_{store}.cl", "-DHEAD_DIM=128",
                    "row"))
        for norm in ("rms", "layer", "none"):
            parts = f"NORM=norm_{norm}.cl STORE=store_{store}.cl"
            out.append((f"add_norm {norm} {store}", "add_norm", f"add_norm.cl {parts}", "-DLANES=1 -DNORM_ITEMS=256", "row"))
        out.append((f"add_norm in place {store}", "add_norm", f"add_norm.cl NORM=norm_layer.cl STORE=store_{store}.cl",
                    "-DLANES=1 -DNORM_ITEMS=256 -DREPLACES", "row"))
        out.append((f"swiglu {store}", "swiglu", f"rowwise.cl STORE=store_{store}.cl", "-DLANES=1", "row"))
        out.append((f"activate {store}", "activate", f"activate.cl STORE=store_{store}.cl", "-DLANES=1", "row"))
        out.append((f"gate_by_layer {store}", "gate_by_layer", f"layer_inputs.cl STORE=store_{store}.cl", "-DLANES=1", "row"))
    for kernel in ("norm_latent", "latent_rows", "latent_values"):
        out.append((kernel, kernel, "latent.cl", "-DLANES=1", "row"))
    for kernel in ("take_rows", "add_rows", "add_projected"):
        out.append((kernel, kernel, "layer_inputs.cl", "-DLANES=1", "row"))
    out.append(("add_partials", "add_partials", "add_partials.cl", "-DLANES=1", "row"))
    for kernel in ("route", "rank_experts", "choose"):
        out.append((kernel, kernel, "router.cl", "-DLANES=1 -DITEMS=64", "row"))
    for kernel in ("count_pairs", "place_pairs", "gather_rows", "add_experts", "add_shared", "add_expert_bias"):
        out.append((kernel, kernel, "expert_rows.cl", "-DLANES=1 -DITEMS=64", "row"))
    out.append(("top", "top", "top.cl", "-DLANES=1", "row"))
    return out


def run(command):
    p = subprocess.run(command, capture_output=True, text=True)
    if p.returncode:
        raise RuntimeError((p.stdout + p.stderr)[-600:])
    return p.stdout + p.stderr


def clang_command(clang, chip, defines, library, source, out):
    triple = "nvptx64-nvidia-nvcl" if chip in NVIDIA else "amdgcn-amd-amdhsa"
    cpu = ["-Xclang", "-target-cpu", "-Xclang", chip] if chip in NVIDIA else [f"-mcpu={chip}", "-nogpulib"]
    return [clang, "-target", triple, *cpu, "-x", "cl", "-cl-std=CL1.2", "-O3", "-cl-mad-enable", "-Wno-everything", "-Xclang",
            "-finclude-default-header", "-Xclang", "-mlink-builtin-bitcode", "-Xclang", str(library), *defines.split(), "-S",
            str(source), "-o", str(out)]


def figures_of_nvidia(asm, kernel, chip, ptxas, work):
    figures = {"spill": sum(int(n) for n in re.findall(r"\.local\s+\.align\s+\d+\s+\.b8\s+\S+\[(\d+)\]", asm.read_text()))}
    if ptxas and chip != "sm_61":  # CUDA 13 ends with sm_75
        text = run([ptxas, f"-arch={chip}", "-v", asm, "-o", work / "k.cubin"])
        figures["registers"] = int(re.search(r"Used (\d+) registers", text)[1])
        m = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", text)
        figures["spill"] += int(m[1]) + int(m[2])
        m = re.search(r"(\d+) bytes smem", text)
        figures["local"] = int(m[1]) if m else 0
        sections = run(["readelf", "-SW", work / "k.cubin"])
        figures["code"] = int(re.search(rf"\.text\.{kernel}\s+\S+\s+\S+\s+\S+\s+(\S+)", sections)[1], 16)
    return figures


def figures_of_amd(asm, kernel):
    text = asm.read_text()
    text = text[text.index(f"\n{kernel}:"):]

    def figure(name):
        return int(re.search(rf"; {name}\s*[:=]\s*(\d+)", text)[1])
    return {"registers": figure("NumVgprs"), "spill": figure("ScratchSize"), "local": figure("LDSByteSize"),
            "code": figure("codeLenInByte")}


def compile_one(tools, job, chip):
    what, kernel, sources, defines, _ = job
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        source, asm = work / "k.cl", work / "k.s"
        source.write_text(resolve(tools["kernels"], sources))
        library = tools["clc"] / (NVIDIA.get(chip) or AMD[chip])
        run(clang_command(tools["clang"], chip, re.sub(r"\bDOT$", DOTS[chip], defines), library, source, asm))
        if chip in NVIDIA:
            return figures_of_nvidia(asm, kernel, chip, tools["ptxas"], work)
        return figures_of_amd(asm, kernel)


def excess(job, chip, figures):
    """What exceeds its limit."""
    nvidia, amd, code, local = LIMITS[job[4]]
    limits = {"spill": 0, "registers": nvidia if chip in NVIDIA else amd, "code": code, "local": local, **MORE.get(job[0], {})}
    return [f"{name} {figures[name]}, at most {most} expected" for name, most in limits.items() if figures.get(name, 0) > most]


def find_tools(folder):
    clang = next((c for c in ("clang-18", "clang-17", "clang-16", "clang-15") if shutil.which(c)), None)
    clc = Path("/usr/lib/clc")
    ptxas = shutil.which("ptxas") or next((p for p in ["/usr/local/cuda/bin/ptxas"] if os.access(p, os.X_OK)), None)
    if not clang or not all((clc / file).exists() for file in {*NVIDIA.values(), *AMD.values()}):
        print("skipped: clang-15 and libclc are not installed")
        sys.exit(77)
    return {"clang": clang, "clc": clc, "ptxas": ptxas, "kernels": folder}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kernels")
    parser.add_argument("--table", action="store_true", help="print the figures as a table")
    parser.add_argument("--only", default="", help="kernels with this in their names")
    args = parser.parse_args()
    tools = find_tools(args.kernels)
    jobs = [(job, chip) for job in kernels() if args.only in job[0] for chip in (*NVIDIA, *AMD)]
    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda j: attempt(tools, *j), jobs)
        for (job, chip), (figures, error) in zip(jobs, results):
            problems = [error] if error else excess(job, chip, figures)
            failed += bool(problems)
            if problems:
                print(f"{job[0]}, {chip}: {'; '.join(problems)}")
            if args.table and figures:
                print("\t".join([job[0], chip, *(str(figures.get(n, "-")) for n in ("registers", "spill", "local", "code"))]))
    print(f"{len(jobs)} programs for {len(NVIDIA) + len(AMD)} chips, {failed} beyond a limit")
    return 1 if failed else 0


def attempt(tools, job, chip):
    try:
        return compile_one(tools, job, chip), None
    except (RuntimeError, TypeError) as e:
        return None, f"does not compile: {e}"


if __name__ == "__main__":
    sys.exit(main())
