"""The results as CSV and as tables in Markdown."""

import csv
import os

COLUMNS = ["part", "model", "set", "metric", "unit", "value", "low", "high", "n"]
NUMBERS = ("value", "low", "high")

# part, title, what a row is, what a column is, units shown
TABLES = [
    ("ratio", "Speed as a multiple of llama.cpp's, medians of pairs", ("model", "set"), "metric", None),
    ("speed", "Speed, tokens/s: median (least-most)", ("model", "set"), "metric", None),
    ("ratio of 1B", "Random 1B model: speed as a multiple of llama.cpp's, medians of pairs", ("model", "set"), "metric", None),
    ("speed of 1B", "Random 1B model: speed, tokens/s: median (least-most)", ("model", "set"), "metric", None),
    ("predicted", "Predicted ÷ measured", ("model", "set"), "metric", "of measured"),
    ("efficiency", "Efficiency: together ÷ sum of alone", ("model", "set"), "metric", "together / sum of alone"),
    ("efficiency", "Each rank's device alone, tokens/s", ("model", "set"), "metric", "tokens/s"),
    ("bytes", "Decode: weight bytes read, GB/s", ("set",), "model", "GB/s"),
    ("bytes", "Decode: weight bytes read ÷ read bandwidth of all cores", ("set",), "model", "of read bandwidth"),
    ("all_reduce", "all_reduce, microseconds (median)", ("set", "model"), "metric", None),
    ("messages", "Formats of long messages", ("set", "model"), "metric", None),
    ("device", "Devices: GEMM and matrix-vector rates", ("set", "unit"), "metric", None),
    ("start", "Start to the first token, seconds", ("set",), "metric", None),
    ("memory", "Peak memory, MB", ("model", "set"), "metric", None),
    ("machine", "The machine without OpenCL, all cores", ("unit",), "metric", None),
]


def write_csv(path, rows):
    with open(path, "w", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, **{key: f"{row[key]:.6g}" for key in NUMBERS}})


def read_csv(path):
    with open(path, newline="") as text:
        return [{**row, **{key: float(row[key]) for key in NUMBERS}} for row in csv.DictReader(text)]


def _number(x):
    return f"{x:.0f}" if abs(x) >= 100 else f"{x:.1f}" if abs(x) >= 10 else f"{x:.2f}"


def _cell(row, n_rows):
    text = _number(row["value"])
    if row["part"].startswith("speed") or n_rows > 1:
        text += f" ({_number(row['low'])}-{_number(row['high'])})"
    return text


def _merge(rows):
    """The middle and the ends of the rows of a cell that was measured several times, such as the machine's."""
    ordered = sorted(rows, key=lambda r: r["value"])
    return {**ordered[len(ordered) // 2], "low": ordered[0]["low"], "high": ordered[-1]["high"]}


def table(rows, by, across):
    """Lines of a Markdown table."""
    columns = list(dict.fromkeys(r[across] for r in rows))
    cells = {}
    for row in rows:
        cells.setdefault(tuple(row[key] for key in by), {}).setdefault(row[across], []).append(row)
    lines = ["| " + " | ".join([*("" for _ in by), *columns]) + " |", "|" + "---|" * len(by) + "---:|" * len(columns)]
    for labels, found in cells.items():
        texts = [_cell(_merge(found[c]), len(found[c])) if c in found else "" for c in columns]
        lines.append("| " + " | ".join([*labels, *texts]) + " |")
    return lines


def write_markdown(path, title, facts, rows, notes, pictures):
    lines = ["# " + title, "", *(f"- {fact}" for fact in facts), ""]
    for picture in pictures:
        lines += [f"![{os.path.splitext(picture)[0]}]({picture})", ""]
    for part, heading, by, across, unit in TABLES:
        chosen = [r for r in rows if r["part"] == part and unit in (None, r["unit"])]
        if chosen:
            lines += ["## " + heading, "", *table(chosen, by, across), ""]
    if notes:
        lines += ["## Notes", "", *(f"- {note}" for note in notes), ""]
    with open(path, "w") as out:
        out.write("\n".join(lines))
