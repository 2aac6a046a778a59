#!/usr/bin/env python3
"""Pictures of a folder of results, as SVG and PNG: speed by file type, decode by context, all_reduce by size.

  bench/plot.py bench/results/<run>      draws them again from results.csv
"""

import itertools
import os
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from results import read_csv

# The colours of Okabe and Ito, which colour-blind readers can tell apart. The peer is grey.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"]
PEER, PEER_COLOUR = "llama.cpp", "#777777"
MARKERS, LINES = "osD^vP", ("-", "--", ":")
plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
                     "grid.color": "#dddddd", "axes.axisbelow": True, "svg.hashsalt": "evener", "savefig.dpi": 150})


def unique(rows, key):
    return list(dict.fromkeys(r[key] for r in rows))


def colours_of(sets):
    own = itertools.cycle(COLOURS)
    return {s: PEER_COLOUR if s == PEER else next(own) for s in sets}


def errors(row):
    return [[row["value"] - row["low"]], [row["high"] - row["value"]]]


def save(figure, folder, name):
    for kind in ("svg", "png"):
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(os.path.join(folder, f"{name}.{kind}"), bbox_inches="tight", metadata=metadata)
    plt.close(figure)
    return name + ".png"


def bars(axes, rows, metric, colours):
    """One group of bars for each file type, one bar for each set, whiskers from the least to the most."""
    chosen = [r for r in rows if r["metric"] == metric]
    models = unique(chosen, "model")
    width = 0.8 / len(colours)
    for i, (name, colour) in enumerate(colours.items()):
        for row in (r for r in chosen if r["set"] == name):
            x = models.index(row["model"]) + (i - (len(colours) - 1) / 2) * width
            axes.bar(x, row["value"], 0.92 * width, color=colour, yerr=errors(row), error_kw={"lw": 0.8, "capsize": 1.5})
    axes.set_xticks(range(len(models)), models)
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("tokens/s")
    axes.set_title(metric + " tokens" if metric.startswith("prefill") else metric.replace(" at ", " tokens at context "))


def draw_speed(folder, rows, machine):
    rows = [r for r in rows if r["part"] == "speed"]
    prefills = sorted((m for m in unique(rows, "metric") if m.startswith("prefill")), key=lambda m: int(m.split()[1]))
    decodes = [m for m in unique(rows, "metric") if m.startswith("decode")][:1]
    metrics = [m for m in prefills if m == "prefill 512"] or prefills[-1:]
    metrics += decodes
    if not rows or not metrics:
        return None
    colours = colours_of(unique(rows, "set"))
    figure, axes = plt.subplots(1, len(metrics), figsize=(5.5 * len(metrics), 4), squeeze=False)
    for a, metric in zip(axes[0], metrics):
        bars(a, rows, metric, colours)
    handles = [plt.Rectangle((0, 0), 1, 1, color=c) for c in colours.values()]
    figure.legend(handles, colours, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncol=3, frameon=False)
    figure.suptitle("Speed by file type, " + machine, y=1.02)
    return save(figure, folder, "speed")


def draw_lines(folder, rows, machine, name, phase, x_label):
    """Speed over the length at the end of the metric's name, one panel for each file type."""
    rows = [r for r in rows if r["part"] == "speed" and r["metric"].startswith(phase)]
    if len(unique(rows, "metric")) < 2:
        return None
    models, colours = unique(rows, "model"), colours_of(unique(rows, "set"))
    figure, axes = plt.subplots(1, len(models), figsize=(1.2 + 3.2 * len(models), 3.6), squeeze=False)
    for a, model in zip(axes[0], models):
        for i, (who, colour) in enumerate(colours.items()):
            points = sorted((int(r["metric"].split()[-1]), r["value"]) for r in rows if (r["model"], r["set"]) == (model, who))
            if points:
                a.plot(*zip(*points), color=colour, marker=MARKERS[i % len(MARKERS)], ms=4, lw=1.5, label=who)
        a.set_title(model)
        a.set_xlabel(x_label)
        lengths = sorted({int(m.split()[-1]) for m in unique(rows, "metric")})
        if lengths[0] > 0:
            a.set_xscale("log", base=2)
            a.minorticks_off()
        a.set_xticks(lengths, lengths)
        a.set_ylim(bottom=0)
    axes[0][0].set_ylabel("tokens/s")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncol=3, frameon=False)
    figure.suptitle(f"{phase.capitalize()} speed, {machine}", y=1.02)
    return save(figure, folder, name)


def draw_all_reduce(folder, rows, machine):
    rows = [r for r in rows if r["part"] == "all_reduce"]
    if not rows:
        return None
    colours, ways = colours_of(unique(rows, "set")), unique(rows, "model")
    figure, axes = plt.subplots(figsize=(6.5, 4.2))
    for who, colour in colours.items():
        for i, way in enumerate(ways):
            points = [(int(r["metric"].split()[0]), r["value"]) for r in rows if (r["set"], r["model"]) == (who, way)]
            if points:
                axes.plot(*zip(*points), color=colour, ls=LINES[i % len(LINES)], marker=MARKERS[i % len(MARKERS)], ms=4, lw=1.5, label=f"{who}: {way}")
    axes.set(xscale="log", yscale="log", xlabel="message, bytes", ylabel="microseconds")
    axes.set_title("all_reduce by size and way, " + machine)
    axes.axvline(10240, color="#aaaaaa", lw=0.8, ls=":")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncol=2, frameon=False, fontsize=9)
    return save(figure, folder, "all_reduce")


def draw(folder, rows, machine):
    """File names of the PNG pictures."""
    drawn = [draw_speed(folder, rows, machine),
             draw_lines(folder, rows, machine, "context", "decode", "tokens in the context"),
             draw_lines(folder, rows, machine, "prompt", "prefill", "tokens of the prompt"),
             draw_all_reduce(folder, rows, machine)]
    return [name for name in drawn if name]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    where = sys.argv[1].rstrip("/")
    print(*draw(where, read_csv(os.path.join(where, "results.csv")), os.path.basename(where)), sep="\n")
