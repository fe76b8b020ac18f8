"""Words or geometry, by design: personas that share one of the two with a source.

A *paraphrase* is the source's character without its words, a *decoy* is its words in another
character, a *near-twin* is its prompt with a word or two changed. Words can be proved, and are
here; how close the characters are is measured on the base model.
"""

from collections.abc import Mapping
from functools import cache

import pandas as pd
import snowballstemmer

from persona_leakage.data.catalog import PERSONAS_FILE, SOURCES, Persona
from persona_leakage.data.words import overlap, words
from persona_leakage.errors import InputError

# The fewest personas of each kind that every source has.
SMALLEST = {"paraphrase": 16, "decoy": 16, "near-twin": 5}
DECOY_STEMS = 2
TWIN_WORDS = 2
# Paraphrases and decoys of a source differ by no more than this in their mean number of words,
# so that the length of a prompt does not tell them apart.
LENGTH_GAP = 1.5

# What a stemmer cannot know of the sources' words.
IRREGULAR = {"built": "build", "child": "children", "stood": "stand", "taught": "teach"}

_stemmer = snowballstemmer.stemmer("english")


@cache
def content_stems(text: str) -> frozenset[str]:
    """Stems of the content words of a text.

    Parameters
    ----------
    text : str
        Any text; stop words and stems are those of English.

    Returns
    -------
    frozenset of str
        Its ``words.words`` that are no single Latin letter and not among scikit-learn's
        ``ENGLISH_STOP_WORDS``, each reduced by the Snowball stemmer for English (Porter2, as the
        package ``snowballstemmer`` has it). A hyphen parts two words.
    """
    return frozenset(_stem(word) for word in _content_words(text))


def _content_words(text: str) -> list[str]:
    # here, since most of what imports this module compares no words
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return sorted(
        word
        for word in words(text)
        if word not in ENGLISH_STOP_WORDS and not (len(word) == 1 and word.isascii())
    )


@cache
def _stem(word: str) -> str:
    return str(_stemmer.stemWord(IRREGULAR.get(word, word)))


def shared_stems(source_prompt: str, prompt: str) -> int:
    """Count the content words that a prompt shares with its source's: a predictor from words alone.

    Parameters
    ----------
    source_prompt, prompt : str
        Two system turns; the order does not matter.

    Returns
    -------
    int
        Stems in both (see ``content_stems``); each counts once.
    """
    return len(content_stems(source_prompt) & content_stems(prompt))


def content_overlap(one: str, other: str) -> float:
    """Share of the content words of two texts that they have in common: 0 where they have none.

    Parameters
    ----------
    one, other : str
        English texts; the Jaccard index of their ``content_stems``.
    """
    stems = content_stems(one), content_stems(other)
    return overlap(*stems) if any(stems) else 0.0


def check_families(personas: Mapping[str, Persona]) -> None:
    """Prove the side of the words: every kind keeps its rule, for each of the five sources.

    A paraphrase has no content word that is akin to one of the source's: none with the same stem,
    with the same first five letters (``maintains``, ``maintenance``), or that holds the stem
    (``world``, ``underworld``). A decoy shares two stems or more. A near-twin differs from the
    source by one word or two, put in, left out or replaced. There are at least 16, 16 and 5 of
    them, and the paraphrases and decoys of a source are equally long on average.

    Parameters
    ----------
    personas : mapping of str to Persona
        The whole catalog, by name.

    Raises
    ------
    InputError
        Names the persona that breaks a rule, and the word or the number that does.
    """
    for persona in personas.values():
        if persona.category not in SMALLEST:
            continue
        if persona.relation is None or not persona.prompt:
            raise InputError(
                f"{PERSONAS_FILE}: the {persona.category} {persona.name} lacks a source or a "
                "prompt; give both"
            )
        source = personas[persona.relation]
        assert source.prompt, "a source is a character"
        _RULES[persona.category](persona.name, persona.prompt, source.name, source.prompt)
    table = family_table(personas).set_index(["source", "kind"])
    for source_name in SOURCES:
        for kind, smallest in SMALLEST.items():
            count = table["personas"].get((source_name, kind), 0)
            if count < smallest:
                raise InputError(
                    f"{PERSONAS_FILE}: {source_name} has {count} personas of category {kind}; "
                    f"write at least {smallest}"
                )
        paraphrases, decoys = (table["words"][source_name, k] for k in ("paraphrase", "decoy"))
        if abs(paraphrases - decoys) > LENGTH_GAP:
            raise InputError(
                f"{PERSONAS_FILE}: the paraphrases of {source_name} have {paraphrases:.1f} words "
                f"on average and the decoys {decoys:.1f}; bring them within {LENGTH_GAP} words"
            )


def _check_paraphrase(name: str, prompt: str, source: str, source_prompt: str) -> None:
    for word in _content_words(prompt):
        for taboo in _content_words(source_prompt):
            if _akin(word, taboo):
                raise InputError(
                    f"{PERSONAS_FILE}: the paraphrase {name} says {word!r}, which is akin to "
                    f"{taboo!r} in the prompt of {source}; say it in another word"
                )


def _akin(word: str, taboo: str) -> bool:
    stem, taboo_stem = _stem(word), _stem(taboo)
    return stem == taboo_stem or stem[:5] == taboo_stem[:5] or taboo_stem in word


def _check_decoy(name: str, prompt: str, source: str, source_prompt: str) -> None:
    shared = content_stems(prompt) & content_stems(source_prompt)
    if len(shared) < DECOY_STEMS:
        raise InputError(
            f"{PERSONAS_FILE}: the decoy {name} shares {', '.join(sorted(shared)) or 'no word'} "
            f"with the prompt of {source}; use {DECOY_STEMS} of its content words"
        )


def _check_twin(name: str, prompt: str, source: str, source_prompt: str) -> None:
    ours, theirs = (text.lower().rstrip(".").split() for text in (prompt, source_prompt))
    changes = _word_changes(ours, theirs)
    if not 1 <= changes <= TWIN_WORDS:
        new = " ".join(word for word in ours if word not in theirs) or "no new word"
        raise InputError(
            f"{PERSONAS_FILE}: the near-twin {name} changes {changes} words of the prompt of "
            f"{source} ({new}); change 1 to {TWIN_WORDS}"
        )


_RULES = {"paraphrase": _check_paraphrase, "decoy": _check_decoy, "near-twin": _check_twin}


def _word_changes(ours: list[str], theirs: list[str]) -> int:
    """Count the words to insert, delete or replace (Levenshtein's distance over words)."""
    row = list(range(len(theirs) + 1))
    for i, word in enumerate(ours, start=1):
        above, row = row, [i]
        for j, other in enumerate(theirs, start=1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (word != other)))
    return row[-1]


def family_table(personas: Mapping[str, Persona]) -> pd.DataFrame:
    """Say how many paraphrases, decoys and near-twins each source has, and what they are like.

    Parameters
    ----------
    personas : mapping of str to Persona
        The whole catalog, by name.

    Returns
    -------
    DataFrame
        One row per source and kind that has personas: ``source``, ``kind``, ``personas`` (count),
        ``words`` (mean number of words of a prompt), ``shared_stems`` (mean number of stems
        shared with the source). The five sources come first, as the kind ``source``.
    """
    rows = []
    for persona in personas.values():
        kind = "source" if persona.name in SOURCES else persona.category
        if kind not in ("source", *SMALLEST) or persona.relation is None or not persona.prompt:
            continue
        shared = shared_stems(personas[persona.relation].prompt or "", persona.prompt)
        rows.append((persona.relation, kind, len(persona.prompt.split()), shared))
    frame = pd.DataFrame(rows, columns=["source", "kind", "words", "shared_stems"])
    return (
        frame.groupby(["source", "kind"], sort=False)
        .agg(
            personas=("words", "size"),
            words=("words", "mean"),
            shared_stems=("shared_stems", "mean"),
        )
        .reset_index()
    )
