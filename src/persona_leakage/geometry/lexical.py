"""How near two prompts are in their words alone: what any geometry has to beat."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from persona_leakage.data.families import content_overlap, content_stems

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

COLUMNS = ("words", "noun", "tfidf", "characters")
CHARACTERS = (3, 5)  # letters of an n-gram, within words


def lexical(prompts: Mapping[str, str], source: str, names: Sequence[str]) -> pd.DataFrame:
    """Predict from words, each predictor higher the more a persona shares with the source.

    Stop words count in none but the n-grams, where they share what little they have: every prompt
    begins with "You are a", and with such words the weights of the others drown.

    Parameters
    ----------
    prompts : mapping of str to str
        Of all personas measured, by name: the weights of TF-IDF are fitted to them.
    source : str
        One of them.
    names : sequence of str
        Those to predict for.

    Returns
    -------
    DataFrame
        Index: ``names``. ``noun``: share of the content stems of the source's *name* that the
        prompt has (its noun, for a name of one word). ``words``: Jaccard index of content stems.
        ``tfidf``: cosine of TF-IDF vectors of content stems, each counted once. ``characters``:
        cosine of TF-IDF vectors of three to five letters within words (scikit-learn's ``char_wb``).
        A column that no text fills is left out.
    """
    # here, since most of what imports this module compares no words
    from sklearn.feature_extraction.text import TfidfVectorizer

    noun = content_stems(source.replace("_", " "))
    stems = {name: content_stems(prompt) for name, prompt in prompts.items()}
    columns = {
        "words": pd.Series(
            {name: content_overlap(prompts[source], prompts[name]) for name in names}
        )
    }
    if noun:
        columns["noun"] = pd.Series({name: len(noun & stems[name]) / len(noun) for name in names})
    if any(stems.values()):
        columns["tfidf"] = _nearness(TfidfVectorizer(analyzer=sorted), stems, source, names)
    if any(prompt.strip() for prompt in prompts.values()):
        letters = TfidfVectorizer(analyzer="char_wb", ngram_range=CHARACTERS)
        columns["characters"] = _nearness(letters, prompts, source, names)
    return pd.DataFrame(columns, index=list(names))


def _nearness(
    vectorizer: "TfidfVectorizer",
    texts: Mapping[str, str] | Mapping[str, frozenset[str]],
    source: str,
    names: Sequence[str],
) -> pd.Series:
    vectors = vectorizer.fit(texts.values())
    towards = vectors.transform([texts[source]])
    nearness = vectors.transform([texts[name] for name in names]) @ towards.T
    return pd.Series(nearness.toarray().ravel(), index=list(names))
