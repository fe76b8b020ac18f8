"""Write ``docs/results.md`` from the summaries of finished reports.

    python -m persona_leakage.pipeline.results qwen qwen_everyday

The first study follows the original's protocol; others were trained on other questions, and are
named as missing where they have no report.
"""

import argparse
from pathlib import Path

from persona_leakage.errors import command
from persona_leakage.files import write_text
from persona_leakage.report.results_page import results_page
from persona_leakage.report.summary import read_summary
from persona_leakage.report.write import REFERENCE

PAGE = Path("docs/results.md")
REPORTS = Path("reports")


@command
def main(study: str, others: list[str]) -> None:
    """Write the page.

    Parameters
    ----------
    study : str
        With a report.
    others : list of str
        With one or not yet.
    """
    write_text(PAGE, page(study, others, REPORTS, REFERENCE))


def page(study: str, others: list[str], reports: Path, reference: Path) -> str:
    """Read what is there and return the page.

    Parameters
    ----------
    study : str
        With a report.
    others : list of str
        With one or not yet.
    reports : Path
        The folder of reports.
    reference : Path
        The folder with the original's numbers.
    """
    paths = {name: reports / name / "summary.json" for name in others}
    beside = {name: read_summary(path) for name, path in paths.items() if path.exists()}
    absent = [name for name in others if name not in beside]
    main_summary = read_summary(reports / study / "summary.json")
    return results_page(study, main_summary, beside, absent, reference)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write docs/results.md from finished reports.")
    parser.add_argument("study", help="that follows the original's protocol")
    parser.add_argument("others", nargs="*", help="studies trained on other questions")
    arguments = parser.parse_args()
    main(arguments.study, arguments.others)
