"""Tables and pictures of what compare.py measured: `python report.py results.json` makes them again."""

import json
import math
import sys
from pathlib import Path
from statistics import median

# The recall at which indexes are compared by one number.
RECALL = 0.95

COLOURS = {"ours": "#c8321e", "hnswlib": "#2a6fb0", "faiss": "#3c8c50", "usearch": "#8a5aa8"}
INK, FAINT = "#333333", "#e4e4e4"


def write(measured, folder):
    """Prints the table of a set and writes its picture."""
    print(f"\n{title(measured)}\n\n{table(measured['contenders'])}", flush=True)
    picture(measured, Path(folder) / f"{measured['name']}.svg")


def title(measured):
    return f"{measured['name']}, {measured['vectors']:,} x {measured['dimension']}"


# --- the table -----------------------------------------------------------------------------------


def table(contenders):
    """Rates are `median (lowest - highest)` of the rounds at that recall, ratios are taken round by round."""
    rates = {name: [at_recall(runs) for runs in c["rounds"]] for name, c in contenders.items()}
    peers = [name for name in contenders if name != "ours"]
    # An index that does not reach the recall is the slowest.
    fastest = max(peers, key=lambda name: median(0 if math.isnan(rate) else rate for _, rate in rates[name]))
    quickest = min(contenders[name]["built"] for name in peers)
    rows = [
        [
            "",
            "build, s",
            "build / quickest library",
            "bytes a vector",
            f"ef at recall {RECALL}",
            "queries/s",
            f"queries/s / fastest library ({fastest})",
        ]
    ]
    for name, contender in contenders.items():
        ratios = [mine / other for (_, mine), (_, other) in zip(rates[name], rates[fastest])]
        compact = contender.get("compact_bytes_per_vector")
        rows.append(
            [
                name,
                f"{contender['built']:.1f}",
                f"{contender['built'] / quickest:.2f}",
                f"{contender['bytes_per_vector']:.0f}" + (f" (compact {compact:.0f})" if compact else ""),
                "-" if math.isnan(rates[name][0][0]) else f"{rates[name][0][0]:.0f}",
                spread([rate for _, rate in rates[name]], 0),
                spread(ratios, 2),
            ]
        )
    rows.insert(1, ["---"] * len(rows[0]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows
    )


def spread(values, digits):
    if any(map(math.isnan, values)):
        return "not reached"
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} - {max(values):.{digits}f})"


def at_recall(runs):
    """(ef, queries/s) where the recall of `runs` reaches RECALL."""
    points = [(run["recall"], run["ef"], run["queries_per_second"]) for run in sorted(runs, key=lambda run: run["ef"])]
    return tuple(crossing(RECALL, [(point[0], point[column]) for point in points]) for column in (1, 2))


def crossing(recall, points):
    """The value where `points` of (recall, value) reach `recall`: between the two on either side by a
    straight line through the logarithms. The first point's if that is beyond already, nan if none is."""
    before = points[0]
    for after in points:
        if after[0] >= recall:
            share = (recall - before[0]) / (after[0] - before[0]) if before[0] < recall else 0.0
            return before[1] ** (1 - share) * after[1] ** share
        before = after
    return math.nan


# --- the picture ---------------------------------------------------------------------------------


def picture(measured, path, lowest=0.8):
    """Recall against queries/s, each curve labelled where it begins."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"font.size": 10, "text.color": INK, "svg.hashsalt": "peers"})
    from matplotlib import pyplot
    from matplotlib.ticker import FixedLocator, FuncFormatter, MultipleLocator, NullFormatter

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    starts = []
    shown = []
    for name, contender in measured["contenders"].items():
        points = [point(runs) for runs in zip(*contender["rounds"])]
        recall, rate, low, high = zip(*points)
        if max(recall) < lowest:
            continue
        ours = name == "ours"
        axes.plot(
            recall,
            rate,
            color=COLOURS[name],
            linewidth=2.6 if ours else 1.6,
            marker="o",
            markersize=5 if ours else 3.5,
            zorder=4 if ours else 3,
        )
        axes.vlines(recall, low, high, color=COLOURS[name], linewidth=1, alpha=0.6, zorder=2)
        first = max(lowest, recall[0])
        starts.append((crossing(first, list(zip(recall, rate))), first, name))
        shown += [value for p in points if p[0] >= lowest for value in p[2:]]
    if not shown:
        return

    axes.set_yscale("log")
    axes.set_xlim(lowest, 1.002)
    axes.set_ylim(min(shown) / 1.25, max(shown) * 1.25)
    steps = [digit * 10**power for power in range(8) for digit in (1, 2, 5)]
    axes.yaxis.set_major_locator(FixedLocator(steps))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.tick_right()
    axes.xaxis.set_major_locator(MultipleLocator(0.05))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2f}"))
    axes.tick_params(which="both", length=0, colors=INK)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.axvline(RECALL, color="#aaaaaa", linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for side in axes.spines.values():
        side.set_visible(False)

    # Names to the left of the frame, where the curves are furthest apart; moved where they would touch.
    low, high = (math.log(limit) for limit in axes.get_ylim())
    height = -math.inf
    for rate, recall, name in sorted(starts):
        height = max(math.log(rate), height + (high - low) * 0.05)
        axes.annotate(
            name,
            xy=(recall, rate),
            xytext=(lowest - 0.006, math.exp(height)),
            color=COLOURS[name],
            fontweight="bold" if name == "ours" else "normal",
            horizontalalignment="right",
            verticalalignment="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": COLOURS[name], "linestyle": ":", "shrinkA": 1, "shrinkB": 0},
        )
    axes.set_title(f"{title(measured)}: queries per second on one thread", loc="left", color=INK)
    axes.set_xlabel("recall of 10; up and to the right is better; bars: lowest to highest round", color=INK)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def point(runs):
    """(recall, median rate, lowest, highest) of one ef over the rounds."""
    rates = [run["queries_per_second"] for run in runs]
    return median(run["recall"] for run in runs), median(rates), min(rates), max(rates)


if __name__ == "__main__":
    source = Path(sys.argv[1])
    for measured in json.loads(source.read_text())["sets"]:
        write(measured, source.parent)
