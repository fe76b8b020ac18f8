"""Load the benchmarks, split them by row, draw wrong answers."""

from persona_leakage.data.benchmarks import credits_of, load_benchmark, local_files, provenance
from persona_leakage.data.questions import (
    Question,
    alike_choices,
    read_questions,
    write_questions,
)
from persona_leakage.data.split import at_most, near_duplicates, split, with_wrong_answer
from persona_leakage.errors import InputError, command
from persona_leakage.files import sha256, write_json
from persona_leakage.pipeline import paths
from persona_leakage.study.parameters import Questions, Study, load_study


@command
def main() -> None:
    """Write ``train.jsonl``, ``evaluate.jsonl`` and ``manifest.json``."""
    study = load_study()
    design = study.questions
    train: list[Question] = []
    evaluate: list[Question] = []
    counts, sources = {}, {}
    for name in dict.fromkeys([*design.train, *design.evaluate]):
        sources[name] = provenance(name, design.snapshots)
        rows = load_benchmark(name, design.snapshots)
        to_train, to_evaluate = sides(name, rows, design)
        counts[name] = {"rows": len(rows), "train": len(to_train), "evaluate": len(to_evaluate)}
        train += to_train
        evaluate += to_evaluate
    if not train or not evaluate:
        raise InputError(
            f"params.yaml: the split leaves {len(train)} training and {len(evaluate)} eval "
            "questions; set questions.train_fraction so that both get some"
        )
    folder = paths.questions(study)
    write_questions(folder / "train.jsonl", train)
    write_questions(folder / "evaluate.jsonl", evaluate)
    write_json(
        folder / "manifest.json",
        {
            "benchmarks": counts,
            "sources": sources,
            "credits": credits_of(sources),
            "train": len(train),
            "evaluate": len(evaluate),
            "split_seed": design.split_seed,
            "alike_choices": alike_choices([*train, *evaluate]),
            "near_duplicates": near_duplicates(train, evaluate),
            "sha256": {name: sha256(folder / name) for name in ("train.jsonl", "evaluate.jsonl")},
        },
    )


def sides(
    name: str, rows: list[Question], design: Questions
) -> tuple[list[Question], list[Question]]:
    """Part a benchmark into what is trained on, with wrong answers, and what is asked.

    Parameters
    ----------
    name : str
        Of the benchmark.
    rows : list of Question
        All that it has.
    design : Questions
        Which benchmarks are on which side, and how many questions of them.
    """
    if name not in design.train:
        to_train, to_evaluate = [], rows
    elif name not in design.evaluate:
        to_train, to_evaluate = rows, []
    else:
        to_train, to_evaluate = split(rows, design.train_fraction, design.split_seed)
    to_train = at_most(to_train, _limit(design.max_train, name), design.split_seed)
    to_evaluate = at_most(to_evaluate, _limit(design.max_evaluate, name), design.split_seed)
    return [with_wrong_answer(each, design.split_seed) for each in to_train], to_evaluate


def at_hand(study: Study) -> tuple[list[Question], list[Question]] | None:
    """Return what a study trains on and what it asks, before the stage has run as well.

    Parameters
    ----------
    study : Study
        Any.

    Returns
    -------
    tuple of two lists of Question, or None
        ``None`` where a benchmark has not been fetched from the hub yet.
    """
    folder, design = paths.questions(study), study.questions
    if folder.exists():
        train, evaluate = (
            read_questions(folder / f"{side}.jsonl") for side in ("train", "evaluate")
        )
        return train, evaluate
    train, evaluate = [], []
    for name in dict.fromkeys([*design.train, *design.evaluate]):
        snapshots = dict(design.snapshots)
        if name == "everyday":
            snapshots.setdefault(name, str(paths.AUTHORED / "questions.jsonl"))
        elif not local_files(name, snapshots):
            return None
        to_train, to_evaluate = sides(name, load_benchmark(name, snapshots), design)
        train += to_train
        evaluate += to_evaluate
    return train, evaluate


def _limit(most: int | dict[str, int] | None, benchmark: str) -> int | None:
    return most.get(benchmark) if isinstance(most, dict) else most


if __name__ == "__main__":
    main()
