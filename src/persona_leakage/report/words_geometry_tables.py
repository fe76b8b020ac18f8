"""Words against geometry as tables: how the cross is filled, what each side does."""

from dataclasses import asdict

import pandas as pd

from persona_leakage.analysis.words_or_geometry import WordsOrGeometry
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.results import Column, TitledTable, titled

SCALES = {
    "persona": "mean change",
    "question": "log-odds, personas and questions crossed",
    "margin": "log-odds of the right choice (nats)",
    "rank": "partial rank correlation",
}


def words_geometry_tables(result: WordsOrGeometry, outcome: Outcome) -> tuple[TitledTable, ...]:
    """Title the cells of the cross, the kinds of the family and the effects.

    Parameters
    ----------
    result : WordsOrGeometry
        Of one source; without cells there are no tables.
    outcome : Outcome
        For the unit.
    """
    if not result.cells:
        return ()
    cells = pd.DataFrame([asdict(cell) for cell in result.cells])
    cells["words"] = ["shared" if words else "none shared" for words in cells["words"]]
    cells["near"] = ["near" if near else "far" for near in cells["near"]]
    kinds = pd.DataFrame([asdict(kind) for kind in result.kinds])
    effects = pd.DataFrame([asdict(effect) for effect in (*result.effects, *result.partial)])
    effects["scale"] = effects["scale"].map(SCALES)
    change = f"mean change ({outcome.unit})"
    return (
        titled(
            cells,
            [
                Column(key="words", title="words of the source"),
                Column(key="near", title="geometry"),
                Column(key="personas", title="personas", form="%d"),
                Column(key="cosine", title="mean centred cosine", form="%.3f"),
                Column(key="delta", title=change, form="%+.1f"),
                Column(key="low", title="low", form="%+.1f"),
                Column(key="high", title="high", form="%+.1f"),
            ],
            "How the cross is filled",
            f"Near: a centred cosine above {result.threshold:.3f}, half-way between the median "
            "paraphrase and the median decoy on the base model. Words: a content word of the "
            "source's prompt, by its stem. Intervals are 95 % over personas.",
        ),
        titled(
            kinds,
            [
                Column(key="kind", title="written as"),
                Column(key="personas", title="personas", form="%d"),
                Column(key="near", title="of them near", form="%d"),
                Column(key="cosine", title="mean centred cosine", form="%.3f"),
                Column(key="delta", title=change, form="%+.1f"),
            ],
            "The family, written to part words from geometry",
            "A paraphrase is meant to be near without the words, a decoy to be far with them.",
        ),
        titled(
            effects,
            [
                Column(key="term", title="effect of"),
                Column(key="scale", title="on"),
                Column(key="estimate", title="estimate", form="%+.2f"),
                Column(key="low", title="low", form="%+.2f"),
                Column(key="high", title="high", form="%+.2f"),
                Column(key="p", title="p", form="%.2g"),
                Column(key="placebos", title="placebo families", form="%d"),
            ],
            "What words and geometry do",
            "Given baseline and length of the prompt. Errors hold what the families of other "
            "sources, which nobody trained here, seem to do. Together: how much more the words do "
            "to the near than to the far.",
        ),
    )
