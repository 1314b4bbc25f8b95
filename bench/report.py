# SPDX-License-Identifier: Apache-2.0
"""What a run found, as Markdown."""

import statistics


def median(values):
    return statistics.median(values)


def spread(values, digits=2):
    text = f"{median(values):.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values):.{digits}f}–{max(values):.{digits}f})"
    return text


def ratios(cell, ours, theirs, key):
    """Ours to theirs, round by round."""
    a, b = cell["rounds"].get(ours), cell["rounds"].get(theirs)
    if not a or not b:
        return None
    return [x[key] / y[key] for x, y in zip(a, b) if y[key]]


def row(*columns):
    return "| " + " | ".join(str(c) for c in columns) + " |"


def load_table(cells):
    """One line a cell and gateway; the ratio stands in the line of the other gateway."""
    lines = [row("work", "gateway", "requests/s", "p50 ms", "p99 ms", "CPU-µs/request", "CPU %",
                 "RSS MB", "Weir : it, CPU-µs", "Weir : it, requests/s"),
             row(*["---"] * 2, *["---:"] * 8)]
    for cell in cells:
        for name, rounds in cell["rounds"].items():
            if not rounds:
                continue
            mid = {k: median([r[k] for r in rounds]) for k in rounds[0]}
            cpu = ratios(cell, "weir", name, "cpu_us") if name != "weir" else None
            rps = ratios(cell, "weir", name, "rps") if name != "weir" else None
            lines.append(row(
                cell["work"], name, f"{mid['rps']:,.0f}", f"{mid['p50_ms']:.2f}",
                f"{mid['p99_ms']:.2f}", f"{mid['cpu_us']:.1f}", f"{mid['cpu_share'] * 100:.0f}",
                f"{mid['rss'] / 1e6:.1f}", spread(cpu) if cpu else "", spread(rps) if rps else ""))
    return lines


def fact_table(facts):
    lines = [row("work", "gateway", "figure", "value"), row("---", "---", "---", "---:")]
    for f in facts:
        lines.append(row(f["work"], f["gateway"], f["figure"], f["text"]))
    return lines


def markdown(run):
    lines = ["# Bench", ""]
    lines += [f"- {k}: {v}" for k, v in run["about"].items()]
    if run["cells"]:
        lines += ["", "## Load", "", *load_table(run["cells"])]
    if run["facts"]:
        lines += ["", "## Figures", "", *fact_table(run["facts"])]
    if run["failures"]:
        lines += ["", "## Failed", "", *(f"- {f}" for f in run["failures"])]
    return "\n".join(lines)
