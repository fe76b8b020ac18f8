"""Load the benchmarks, split them by row, draw wrong answers."""

from persona_leakage.data.benchmarks import load_benchmark, provenance
from persona_leakage.data.questions import Question, alike_choices, write_questions
from persona_leakage.data.split import at_most, near_duplicates, split, with_wrong_answer
from persona_leakage.errors import InputError, command
from persona_leakage.files import sha256, write_json
from persona_leakage.pipeline import paths
from persona_leakage.study.parameters import load_study


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
        if name not in design.train:
            to_train, to_evaluate = [], rows
        elif name not in design.evaluate:
            to_train, to_evaluate = rows, []
        else:
            to_train, to_evaluate = split(rows, design.train_fraction, design.split_seed)
        to_train = at_most(to_train, _limit(design.max_train, name), design.split_seed)
        to_evaluate = at_most(to_evaluate, _limit(design.max_evaluate, name), design.split_seed)
        counts[name] = {"rows": len(rows), "train": len(to_train), "evaluate": len(to_evaluate)}
        train += [with_wrong_answer(question, design.split_seed) for question in to_train]
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
            "train": len(train),
            "evaluate": len(evaluate),
            "split_seed": design.split_seed,
            "alike_choices": alike_choices([*train, *evaluate]),
            "near_duplicates": near_duplicates(train, evaluate),
            "sha256": {name: sha256(folder / name) for name in ("train.jsonl", "evaluate.jsonl")},
        },
    )


def _limit(most: int | dict[str, int] | None, benchmark: str) -> int | None:
    return most.get(benchmark) if isinstance(most, dict) else most


if __name__ == "__main__":
    main()
