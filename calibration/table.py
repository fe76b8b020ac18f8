"""Simulate studies whose truth is known and write the table of ``docs/statistics.md``.

``python calibration/table.py [--studies 300]``: minutes on one core.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

import gradient
import joint
from row import Row
from simulate import ROOT, qwen, small

PAGE = ROOT / "docs" / "statistics.md"
MARKERS = ("<!-- calibration -->", "<!-- end of calibration -->")
SEED = 2026


def sections(studies: int) -> list[Callable[[], list[Row]]]:
    """List what is simulated; a statistic joins by a function that returns rows."""
    real, made = qwen(), small()
    return [
        lambda: gradient.sizes_of_rho(real, studies, SEED),
        lambda: gradient.power_of_rho(real, studies, SEED),
        lambda: gradient.intervals(2 * studies, SEED),
        lambda: gradient.equivalence(2 * studies, SEED),
        lambda: gradient.shapes(made, studies, SEED),
        lambda: gradient.predictors(made, studies, SEED),
        lambda: gradient.what_would_settle(4 * studies, SEED),
        lambda: joint.boundary(studies, SEED),
        lambda: joint.slopes(real, studies, SEED),
        lambda: joint.words(real, studies // 3, SEED),
    ]


def table(rows: Sequence[Row]) -> str:
    """Write rows as a table of Markdown.

    Parameters
    ----------
    rows : sequence of Row
        In order.
    """
    lines = [
        "| statistic | in studies with | counted | found | must be | studies |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        found = f"{row.found:.3f}" if row.holds else f"**{row.found:.3f}**"
        bounds = f"{row.low:.2f} to {row.high:.2f}" if row.high != float("inf") else "(no bound)"
        cells = [row.statistic, row.truth, row.counted, found, bounds, str(row.studies)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Write the table between the markers; exit with 1 where a row does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=300)
    studies = parser.parse_args().studies
    rows: list[Row] = []
    for section in sections(studies):
        found = section()
        print("\n".join(table(found).splitlines()[2:]), flush=True)
        rows += found
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(MARKERS[0])
    after = rest.split(MARKERS[1])[1]
    text = f"{before}{MARKERS[0]}\n\n{table(rows)}\n\n{MARKERS[1]}{after}"
    PAGE.write_text(text, encoding="utf-8")
    sys.exit(0 if all(row.holds for row in rows) else 1)


if __name__ == "__main__":
    main()
