"""The page of a report: tables by Jinja, curves by Plotly, all in one file."""

import os

import jinja2

from reporting import runs as reading
from trainers.errors import UserError
from trainers.text_metrics.table import METRICS, OF_PAIRS, OF_TOKENS, figures_of

# Categorical hues that stay apart for eyes that see fewer colours (Okabe and Ito, 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")


def render(runs, title=None):
    """The page of some runs as a text.

    Args:
      runs: list of runs.Run.
      title: of the page; None for the runs' names.

    Raises:
      UserError: Plotly, which draws the curves, is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise UserError("the curves need Plotly: pip install -e '.[report]'") from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(__file__)),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"figure": figure, "duration": duration, "quantity": quantity}
    return environment.get_template("page.html").render(
        title=title or ", ".join(run.name for run in runs),
        runs=runs,
        colours={run.name: COLOURS[i % len(COLOURS)] for i, run in enumerate(runs)},
        costs=[reading.cost(run) for run in runs],
        results=table_of(runs),
        differences=reading.differences(runs) if len(runs) > 1 else {},
        charts=charts_of(runs),
        plotly=get_plotlyjs(),
    )


def table_of(runs):
    """[(split, figure, [cell of each run]), ...]; a cell is None or a dict of text and places.

    The best of a row is marked where there are several and one way is better.
    """
    results = [reading.results(run) for run in runs]
    ways = OF_TOKENS | OF_PAIRS | figures_of(METRICS)
    rows = []
    for split, name in dict.fromkeys(key for result in results for key in result):
        found = [result.get((split, name)) for result in results]
        way = ways.get(name)
        bests = [cell[1] for cell in found if cell]
        winner = way(bests) if way and len(bests) > 1 and len(set(bests)) > 1 else None
        cells = [
            cell and {"last": cell[0], "best": cell[1], "step": cell[2], "wins": cell[1] == winner}
            for cell in found
        ]
        rows.append((split, name, cells))
    return rows


def charts_of(runs):
    """{figure: [line of a split and run, for the page's script]}."""
    found = {}
    for run in runs:
        for name, splits in reading.curves(run).items():
            for split, curve in splits.items():
                found.setdefault(name, []).append({"run": run.name, "split": split, **curve})
    return found


def figure(value):
    """A number to as many digits as tell something."""
    if isinstance(value, int) or (abs(value) >= 1000 and float(value).is_integer()):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def duration(seconds):
    """Seconds as hours, minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def quantity(value):
    """A large number with a prefix of the SI: 2.10 P."""
    for factor, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}"
    return f"{value:,.0f}"
