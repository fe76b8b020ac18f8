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
    wanted = study.questions
    train: list[Question] = []
    evaluate: list[Question] = []
    counts, sources = {}, {}
    most = wanted.max_evaluate
    for name in dict.fromkeys([*wanted.train, *wanted.evaluate]):
        sources[name] = provenance(name, wanted.snapshots)
        rows = load_benchmark(name, wanted.snapshots)
        if name not in wanted.train:
            taught, asked = [], rows
        elif name not in wanted.evaluate:
            taught, asked = rows, []
        else:
            taught, asked = split(rows, wanted.train_fraction, wanted.split_seed)
        taught = at_most(taught, wanted.max_train, wanted.split_seed)
        count = most.get(name) if isinstance(most, dict) else most
        asked = at_most(asked, count, wanted.split_seed)
        counts[name] = {"rows": len(rows), "train": len(taught), "evaluate": len(asked)}
        train += [with_wrong_answer(question, wanted.split_seed) for question in taught]
        evaluate += asked
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
            "split_seed": wanted.split_seed,
            "alike_choices": alike_choices([*train, *evaluate]),
            "near_duplicates": near_duplicates(train, evaluate),
            "sha256": {name: sha256(folder / name) for name in ("train.jsonl", "evaluate.jsonl")},
        },
    )


if __name__ == "__main__":
    main()
