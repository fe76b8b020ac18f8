"""What could predict the damage before training: cosines, distances, or the prompts' words."""

import re
import unicodedata
from collections.abc import Sequence

import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer

from persona_leakage.data.catalog import Persona
from persona_leakage.errors import InputError


def predictors(
    pairs: pd.DataFrame, source: str, names: Sequence[str], personas: Sequence[Persona]
) -> pd.DataFrame:
    """Everything that could predict damage before training, higher meaning nearer to the source.

    Parameters
    ----------
    pairs : DataFrame
        Of ``cosines.table``.
    source : str
        Name of the persona to be near to.
    names : sequence of str
        The personas to predict for.
    personas : sequence of Persona
        Records of those measured. One that is not in ``pairs`` changes nothing.

    Returns
    -------
    DataFrame
        Index: ``names``. Columns ``raw@L``, ``centred@L``, ``distance@L`` (negated Euclidean) for
        each layer L but 0, where the last token is the same for all; ``words`` (Jaccard overlap of
        the prompts' words; 0 of two prompts without any); ``tfidf`` (cosine of their TF-IDF
        vectors, each word counted once, fitted to the personas measured). A column that is the
        same for all, or not a number for some, is left out.

    Raises
    ------
    InputError
        A persona to predict for was not measured.
    """
    measured = set(pairs["persona"])
    bags = {p.name: words(p.prompt or "") for p in personas if p.name in measured}
    for name in (source, *names):
        if name not in bags:
            raise InputError(
                f"similarity: {name} is not among the personas measured; run `dvc repro geometry`"
            )
    towards = pairs[(pairs["source"] == source) & (pairs["layer"] > 0)]
    columns = {}
    for layer, group in towards.groupby("layer"):
        rows = group.set_index("persona").loc[list(names)]
        columns[f"raw@{layer}"] = rows["raw"]
        columns[f"centred@{layer}"] = rows["centred"]
        columns[f"distance@{layer}"] = -rows["distance"]
    columns["words"] = pd.Series({name: _jaccard(bags[source], bags[name]) for name in names})
    if any(bags.values()):
        vectors = TfidfVectorizer(analyzer=sorted).fit(bags.values())
        nearness = vectors.transform([bags[n] for n in names]) @ vectors.transform([bags[source]]).T
        columns["tfidf"] = pd.Series(nearness.toarray().ravel(), index=list(names))
    table = pd.DataFrame(columns)
    ranked = [name for name in table if table[name].notna().all() and table[name].nunique() > 1]
    return table[ranked]


def words(text: str) -> frozenset[str]:
    """Find the words of a text in any script, without case: runs of letters and digits after NFKC.

    Parameters
    ----------
    text : str
        In any script; one without letters and digits has no words.
    """
    return frozenset(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 0.0
