"""Thousands of bad inputs of every kind; what fails is kept and replayed ever after.

    python faults/inputs.py [--examples 6000] [--kinds study rows]

An input is at fault when reading it raises anything but one short sentence, or when it is accepted
and is nonsense. The strategies and what is nonsense stand in tests/bad.py.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from record import write

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import bad


def campaign(kind: str, examples: int, number: int) -> tuple[Counter[str], int]:
    """Draw inputs of a kind and judge each; faults are kept, and the next is drawn.

    Parameters
    ----------
    kind : str
        Of ``bad.KINDS``.
    examples : int
        How many.
    number : int
        Seed of the draws.

    Returns
    -------
    counts : Counter
        Of examples, by what became of them.
    faults : int
        How many failed.
    """
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:

        @seed(number)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(bad.drawn(kind))
        def judge(content: bytes) -> None:
            counts["examples"] += 1
            try:
                counts[bad.judge(kind, content, folder)] += 1
            except Exception as error:
                why = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
                reasons[why[:40]] += 1
                if reasons[why[:40]] == 1:
                    bad.keep(kind, content, why)
                    print(f"{kind}: {why}", file=sys.stderr)

        judge()
    return counts, sum(reasons.values())


def main() -> None:
    """Run the campaign and write its numbers into docs/reliability.md."""
    parser = argparse.ArgumentParser(description="Thousands of bad inputs.")
    parser.add_argument("--examples", type=int, default=6000, help="of all kinds together")
    parser.add_argument("--kinds", nargs="*", default=list(bad.KINDS))
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--dry", action="store_true", help="write no document")
    chosen = parser.parse_args()
    start, faults = time.monotonic(), 0
    counts = {}
    whole = sum(share for _, _, share in bad.KINDS.values())
    for kind in chosen.kinds:
        examples = max(1, round(chosen.examples * bad.KINDS[kind][2] / whole))
        counts[kind], failed = campaign(kind, examples, chosen.seed)
        faults += failed
        print(kind, dict(counts[kind]), flush=True)
    for kind, content in bad.kept():
        with tempfile.TemporaryDirectory() as folder:
            try:
                bad.judge(kind, content, folder)
            except Exception as error:
                faults += 1
                print(f"kept, {kind}: {type(error).__name__}: {error}", file=sys.stderr)
    content = {
        "seconds": round(time.monotonic() - start),
        "seed": chosen.seed,
        "counts": {kind: dict(each) for kind, each in counts.items()},
        "faults": faults,
        "kept": len(bad.kept()),
    }
    if not chosen.dry:
        write("inputs", content)
    print(f"{sum(each['examples'] for each in counts.values())} examples, {faults} faults")
    if faults:
        sys.exit(1)


if __name__ == "__main__":
    main()
