"""Simulate studies whose truth is known and write the tables of ``docs/statistics.md``.

``python calibration/table.py [--studies 300] [--sections rho slope ...]``: a table is written as
soon as its section is done, so that a run that was cut goes on with the sections left.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import changes
import gradient
import joint
from row import Row
from simulate import ROOT, qwen, small

PAGE = ROOT / "docs" / "statistics.md"
SEED = 20261126
HEAD = (
    "| statistic | in studies with | counted | found [95 %] | must be | studies |",
    "| --- | --- | --- | --- | --- | --- |",
)


def sections(studies: int) -> dict[str, Callable[[], Iterator[Row]]]:
    """List what is simulated, by the name of its table.

    Parameters
    ----------
    studies : int
        A row; what takes milliseconds gets more of them.
    """
    return {
        "rho": lambda: gradient.sizes_of_rho(qwen(), studies, SEED),
        "power": lambda: gradient.power_of_rho(qwen(), studies, SEED),
        "intervals": lambda: gradient.intervals(2 * studies, SEED),
        "size": lambda: gradient.equivalence(2 * studies, SEED),
        "shape": lambda: gradient.shapes(small(), studies, SEED),
        "best": lambda: gradient.predictors(small(), studies, SEED),
        "needed": lambda: gradient.what_would_settle(4 * studies, SEED),
        "change": lambda: changes.of_one_persona(20 * studies, SEED),
        "partial": lambda: changes.partial(20 * studies, SEED),
        "margin": lambda: changes.margin(2 * studies, SEED),
        "boundary": lambda: joint.boundary(5 * studies, SEED),
        "slope": lambda: joint.slopes(qwen(), 2 * studies, SEED),
        "answers": lambda: joint.from_answers(studies, SEED),
        "words": lambda: joint.words(qwen(), studies, SEED),
    }


def markers(section: str) -> tuple[str, str]:
    """Return what a section's table stands between.

    Parameters
    ----------
    section : str
        Its name.
    """
    return f"<!-- calibration: {section} -->", f"<!-- end of {section} -->"


def written(page: str, section: str, rows: Sequence[Row]) -> str:
    """Return the page with the rows as this section's table.

    Parameters
    ----------
    page : str
        With the section's markers.
    section : str
        Its name.
    rows : sequence of Row
        In order.
    """
    first, last = markers(section)
    before, rest = page.split(first)
    after = rest.split(last)[1]
    lines = [*HEAD, *(f"| {' | '.join(row.cells)} |" for row in rows)]
    return "\n".join([f"{before}{first}\n", *lines, f"\n{last}{after}"])


def main() -> None:
    """Simulate and write; exit with 1 where a row does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--sections", nargs="+", choices=sections(0), default=list(sections(0)))
    asked = parser.parse_args()
    hold = True
    for number, name in enumerate(asked.sections, start=1):
        began, rows = time.monotonic(), []
        for row in sections(asked.studies)[name]():
            rows.append(row)
            print("  " + " | ".join(row.cells), flush=True)
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), name, rows), encoding="utf-8")
        hold &= all(row.holds for row in rows)
        took = time.monotonic() - began
        print(f"{number} of {len(asked.sections)}: {name}, {took:.0f} s", flush=True)
    sys.exit(0 if hold else 1)


if __name__ == "__main__":
    main()
