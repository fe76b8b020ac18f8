"""The words of a text in any script, and how far two texts share them."""

import re
import unicodedata

# Han and Hiragana are written without spaces: each character is a word, as in the default word
# boundaries of Unicode (UAX 29)
_UNSPACED = r"\u3040-\u309f\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])\w)+")


def words(text: str) -> frozenset[str]:
    """Reduce a text to its words, without case, order or repetition.

    Parameters
    ----------
    text : str
        Of any script.

    Returns
    -------
    frozenset of str
        Runs of letters and digits after NFKC and case folding. A text without any, such as one of
        emoji, gives its visible characters; only an empty one gives nothing.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return frozenset(_WORD.findall(plain) or "".join(plain.split()))


def overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard index of two sets of words: shared over all; 1 for two empty ones.

    Parameters
    ----------
    one : frozenset of str
        Of ``words``.
    other : frozenset of str
        Of ``words``.

    Returns
    -------
    float
        From 0 (nothing shared) to 1 (the same words).
    """
    union = len(one | other)
    return len(one & other) / union if union else 1.0
