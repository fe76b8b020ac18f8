"""Who is trained on which question: splits, limits, wrong answers, near duplicates."""

from collections.abc import Sequence
from dataclasses import replace

from persona_leakage.data.questions import Question
from persona_leakage.data.shuffle import shuffled
from persona_leakage.data.words import overlap, words
from persona_leakage.files import Record

NEAR_DUPLICATE = 0.8  # Jaccard overlap of the words of two questions


def split(
    questions: list[Question], train_fraction: float, seed: int
) -> tuple[list[Question], list[Question]]:
    """Split by row into (train, evaluate), each in the benchmark's own order.

    The order depends on the seed, the benchmark and the row alone.

    Parameters
    ----------
    questions : list of Question
        Of one benchmark.
    train_fraction : float
        ``round(train_fraction * n)`` rows are trained on.
    seed : int
        The study's ``split_seed``.
    """
    order = shuffled(questions, "split", seed, questions[0].benchmark)
    train = {question.row for question in order[: round(train_fraction * len(questions))]}
    return (
        [question for question in questions if question.row in train],
        [question for question in questions if question.row not in train],
    )


def at_most(questions: list[Question], count: int | None, seed: int) -> list[Question]:
    """Draw ``count`` of the questions (all when ``None``), keeping their order.

    Parameters
    ----------
    questions : list of Question
        Of one benchmark.
    count : int or None
        How many.
    seed : int
        The study's ``split_seed``.
    """
    if count is None or count >= len(questions):
        return questions
    keys = {question.key for question in shuffled(questions, "at most", seed)[:count]}
    return [question for question in questions if question.key in keys]


def with_wrong_answer(question: Question, seed: int) -> Question:
    """Draw the wrong choice to train on, uniformly among those whose text is not the right one's.

    Parameters
    ----------
    question : Question
        One that ``questions.check`` accepts, so that a choice is wrong.
    seed : int
        The study's ``split_seed``.
    """
    incorrect = [index for index in range(len(question.choices)) if index not in question.right]
    return replace(question, wrong=shuffled(incorrect, "wrong answer", seed, question.key)[0])


def near_duplicates(train: Sequence[Question], evaluate: Sequence[Question]) -> list[Record]:
    """List pairs across the split whose words are the same, or overlap by ``NEAR_DUPLICATE``.

    Parameters
    ----------
    train : sequence of Question
        Those that are trained on.
    evaluate : sequence of Question
        Those that are asked.

    Returns
    -------
    list of dict
        ``train`` and ``evaluate`` (keys), ``overlap`` (Jaccard index of their ``words``; 1.0 for
        the same words), ``exact`` (the same text).
    """
    bags = [(question, words(question.text)) for question in evaluate]
    pairs = []
    for question in train:
        bag = words(question.text)
        for other, other_bag in bags:
            smaller, larger = sorted((len(bag), len(other_bag)))
            if smaller < NEAR_DUPLICATE * larger:
                continue  # cannot overlap enough
            shared = overlap(bag, other_bag)
            if shared >= NEAR_DUPLICATE:
                pairs.append(
                    {
                        "train": question.key,
                        "evaluate": other.key,
                        "overlap": round(shared, 3),
                        "exact": question.text == other.text,
                    }
                )
    return pairs
