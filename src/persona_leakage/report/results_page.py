"""The page of results: the original's claims beside ours, in Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from persona_leakage.errors import InputError
from persona_leakage.report.claims import Claim, claims
from persona_leakage.report.page import environment
from persona_leakage.report.published import analyse
from persona_leakage.report.summary import Summary
from persona_leakage.report.verdict import least_move

TABLES = ("headline", "villain_gradient", "outliers")


def results_page(
    study: str,
    main: Summary,
    beside: Mapping[str, Summary],
    absent: Sequence[str],
    reference: Path,
) -> str:
    """Write the page.

    Parameters
    ----------
    study : str
        Name of the main study.
    main : Summary
        Of the study that follows the original's protocol.
    beside : mapping of Summary
        Of studies trained on other questions, by name.
    absent : sequence of str
        Names of such studies that have no report yet.
    reference : Path
        The folder with the original's numbers.

    Raises
    ------
    InputError
        The studies measure something other than the original.
    """
    for name, summary in {study: main, **beside}.items():
        if summary.outcome.name != "accuracy":
            raise InputError(
                f"reports/{name}/summary.json measures {summary.outcome.name}, the original "
                "measured accuracy; name studies of wrong answers"
            )
    published = analyse(*(pd.read_csv(reference / f"{name}.csv") for name in TABLES))
    anchors = pd.read_csv(reference / "assistant_audit.csv")
    judged = claims(main, beside, published, anchors)
    return (
        environment(html=False)
        .get_template("results/page.jinja")
        .render(
            study=study,
            main=main,
            before=[cell.source_change.before for cell in main.cells],
            params=next(iter(main.params.values())),
            beside=beside,
            absent=absent,
            claims=judged,
            least_move=least_move(main.outcome),
            counts={
                word: count_of(judged, word) for word in ("agrees", "disagrees", "cannot tell")
            },
        )
    )


def count_of(judged: Sequence[Claim], word: str) -> int:
    """Count the claims with this word.

    Parameters
    ----------
    judged : sequence of Claim
        Of ``claims.claims``.
    word : str
        A verdict.
    """
    return sum(claim.word == word for claim in judged)
