#!/usr/bin/env python3
"""Greedy and beam search over T5 in float64 (tests/engine/oracle_t5.py), as docs/translate.md says.

translate.py make OUT.gguf                 a small model with random weights, whose texts end
translate.py check MODEL EVENER TEXT N BEAMS PENALTY -- OPTIONS...   runs evener run; its ids must be those of this file
"""

import json
import os
import subprocess
import sys

sys.dont_write_bytecode = True
here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [here + "/../engine", here + "/../../scripts"]
import numpy as np

import oracle

ENDS = (0, 2)  # <|endoftext|>, <|im_end|> of scripts/make-tiny-model


class Decoder:
    def __init__(self, path, text):
        self.t5 = oracle.open_model(path)
        self.memory = self.t5.run("enc.", text)
        self.head = self.t5.m.tensor("output.weight")

    def logprobs(self, ids):
        y = self.head @ self.t5.run("dec.", [0, *ids], self.memory)[-1]
        return y - y.max() - np.log(np.exp(y - y.max()).sum())


def greedy(decoder, n):
    ids = []
    while len(ids) < n and (not ids or ids[-1] not in ENDS):
        ids.append(int(decoder.logprobs(ids).argmax()))
    return ids


def beams(decoder, n, width, penalty):
    value = lambda text: text[0] / len(text[1]) ** penalty
    going, ended = [(0.0, [])], []
    while going:
        each = [(total, ids, decoder.logprobs(ids)) for total, ids in going]
        branches = sorted(((total + p[i], [*ids, int(i)]) for total, ids, p in each for i in np.argsort(-p)[: 2 * width]),
                          key=lambda b: -b[0])[: 2 * width]
        going = []
        for branch in branches:
            if len(going) == width:
                break
            (ended if branch[1][-1] in ENDS or len(branch[1]) == n else going).append(branch)
        ended = sorted(ended, key=value, reverse=True)[:width]
        if len(ended) == width and going and value(going[0]) <= value(ended[-1]):
            break
    return ended[0][1]


def make(path):
    """A copy of the row of an id that is often drawn, a little longer, is the row of the end."""
    subprocess.run([sys.executable, here + "/../../scripts/make-tiny-model", path, "--arch", "t5", "--untied", "--gated", "--dim", "48",
                    "--heads", "3", "--ff", "64", "--seed", "11"], check=True)
    source, out = oracle.gguf_file.Reader(path), oracle.gguf_file.Writer()
    drawn = greedy(Decoder(path, [5, 80, 33, 7]), 40)
    for key, (kind, value) in source.keys.items():
        out.raw(key, kind, value)
    for name, (shape, form, blocks) in source.tensors.items():
        blocks = np.array(blocks)
        if name == "output.weight":
            rows = blocks.view("<f4").reshape(shape[::-1]).copy()
            rows[2] = np.float32(0.93) * rows[drawn[9]]
            blocks = rows.view(np.uint8).reshape(-1)
        out.tensor(name, shape, form, blocks)
    out.save(path)


def check(path, evener, text, n, width, penalty, options):
    command = [evener, "run", "-m", path, "-p", text, "--json", "-n", str(n), "--beams", str(width), "--length-penalty", str(penalty), *options]
    got = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    decoder = Decoder(path, got["prompt_ids"])
    want = greedy(decoder, n) if width == 1 else beams(decoder, n, width, penalty)
    ended = want[-1] in ENDS
    print(f"  {width} beams, length^{penalty}: {len(want)} ids, {'ended' if ended else 'cut'}")
    if got["ids"] != (want[:-1] if ended else want) or got["finish"] != ("stop" if ended else "length"):
        sys.exit(f"{command}: {got['ids']} ({got['finish']}), expected {want}")


if sys.argv[1] == "make":
    make(sys.argv[2])
else:
    check(*sys.argv[2:5], int(sys.argv[5]), int(sys.argv[6]), float(sys.argv[7]), sys.argv[9:])
