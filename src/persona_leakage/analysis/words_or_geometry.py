"""Stub until the branch is merged."""
from dataclasses import dataclass

@dataclass(frozen=True)
class WordsOrGeometry:
    source: str
    threshold: float
    cells: tuple
    kinds: tuple
    effects: tuple
    partial: tuple
    verdict: str
    reason: str

def words_or_geometry(table, pairs, personas, source, outcome, *, seed):
    return WordsOrGeometry(source, 0.5, (), (), (), (), "cannot tell", "")
