"""The front as a picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from automl_fuse.errors import MissingDependencyError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHOSEN: Final = "#d1495b"
_OTHER: Final = "#30638e"
_SMALLEST_AREA, _LARGEST_AREA = 30.0, 900.0


def plot_front(report: Mapping[str, Any], path: str | None = None) -> Any:
    """Draw a run's front: score against latency, areas in proportion to bytes.

    Parameters
    ----------
    report : mapping
        A pipeline's report.
    path : str, optional
        A PNG, SVG or PDF file to write.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    SettingsError
        If the run has no front.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter
    except ImportError as error:
        raise MissingDependencyError(
            "Drawing the front needs matplotlib: pip install 'automl-fuse[plot]'."
        ) from error
    rows = [row for row in report.get("front", []) if math.isfinite(row["latency_ms"])]
    if not rows:
        raise SettingsError("This pipeline has no front: its run had no time to make one.")
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    largest = max(row["size_mb"] for row in rows)
    for row in sorted(rows, key=lambda r: -r["size_mb"]):
        area = max(_SMALLEST_AREA, _LARGEST_AREA * row["size_mb"] / largest)
        colour = _CHOSEN if row["chosen"] else _OTHER
        axes.scatter(row["latency_ms"], row["score"], s=area, color=colour, alpha=0.6, zorder=2)
        axes.annotate(
            f"{row['size_mb']:.3g} MB",
            (row["latency_ms"], row["score"]),
            textcoords="offset points",
            xytext=(0, 6 + (area**0.5) / 2),
            ha="center",
            fontsize=8,
        )
    axes.set_xscale("log")
    plain = FuncFormatter(lambda value, _position: f"{value:g}")
    axes.xaxis.set_major_formatter(plain)
    axes.set_xlabel("one row in onnxruntime, ms")
    better = "higher" if report.get("greater_is_better", True) else "lower"
    axes.set_ylabel(f"{report.get('metric', 'score')} ({better} is better)")
    if better == "lower":
        axes.invert_yaxis()
    axes.set_title("Quality, latency and bytes; red: the pipeline chosen")
    axes.margins(0.15)
    axes.grid(visible=True, alpha=0.3, zorder=1)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
