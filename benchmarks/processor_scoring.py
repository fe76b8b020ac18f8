"""Scoring against its baselines on this machine's processor: part of ``make bench``.

    python benchmarks/processor_scoring.py MODEL OUTPUT.json [--arc SNAPSHOT]

MODEL is the folder of the base model of ``make repro``. Every comparison runs both sides in turn,
three rounds, in this process; memory is measured in a process of its own for each side.
"""

import statistics

import torch
from baselines import apart, best_batch, harness, load_plain, plain_labels, same_argmax
from measuring import (
    ROUNDS,
    Report,
    alternate,
    decoder_weights,
    gflops,
    growth,
    needed_tokens,
    parse_arguments,
    peak,
    processor,
    row,
)

from persona_leakage.behaviours.wrong_answers import Taught
from persona_leakage.data.benchmarks import load_benchmark
from persona_leakage.data.catalog import load_personas
from persona_leakage.data.split import split
from persona_leakage.model.loading import dtype, load_model, load_tokenizer
from persona_leakage.model.scoring import continuation_logprobs, items, plain_logprobs


def needed_flops(model, prompts):
    """FLOPs of the decoder's matrices for the tokens that have to be computed: 2 per weight."""
    shared, counts = needed_tokens(prompts)
    return 2 * decoder_weights(model) * (shared + sum(counts))


def score_side(side, model_folder, prompts):
    """Score on one side, for its memory."""
    if side == "ours":
        continuation_logprobs(load_model(model_folder, "float32"), prompts)
    else:
        plain_labels(load_plain(model_folder), prompts)


def main():
    """Run everything and write the numbers."""
    given = parse_arguments()
    personas = load_personas("catalog")
    everyday = load_benchmark("everyday", {"everyday": "catalog/questions.jsonl"})
    benchmark = load_benchmark("arc_challenge", {"arc_challenge": given.arc}) if given.arc else None
    tokenizer = load_tokenizer(given.model)
    model, half = (load_model(given.model, name) for name in ("float32", "bfloat16"))
    auto = model if dtype("auto") is torch.float32 else half
    baseline = load_plain(given.model)
    report = Report(given.output, processor())
    report.note("label_questions", "arc_challenge" if benchmark else "everyday")

    rates = {}
    for name, scorer in (("float32", model), ("bfloat16", half)):
        # by the very layer that scoring uses
        product = scorer.get_decoder().layers[0].mlp.up_proj
        rates[name] = gflops(product, product.weight)
    report.note("matrix_gflops", rates)

    by_label, by_text = Taught(scoring="label", answer_opens="user"), Taught(scoring="option_text")
    listed = [by_label.ask(question) for question in split(benchmark or everyday, 0.5, 42)[1][:200]]
    unlisted = [by_text.ask(question) for question in everyday]
    villain = [personas["villain"].prompt]
    [labels] = items(tokenizer, villain, listed, "template")
    external = harness(baseline, tokenizer)
    size = best_batch(external, labels[:48], (1, 2, 4, 8, 16))
    continuation_logprobs(model, labels[:48])
    plain_labels(baseline, labels[:8])
    seconds = alternate(
        {
            "ours": lambda: continuation_logprobs(model, labels),
            "ours_auto": lambda: continuation_logprobs(auto, labels),
            "plain": lambda: plain_labels(baseline, labels),
            "harness": lambda: external(labels, size),
        },
        ROUNDS,
    )
    median = statistics.median(seconds["ours"])
    rate = needed_flops(model, labels) / median / 1e9
    report.note(
        "label_against_plain",
        row(seconds, "ours", "plain")
        | {
            "questions": len(labels),
            "gflops": rate,
            "share_of_matrix_rate": rate / rates["float32"],
        },
    )
    report.note(
        "label_auto_against_plain",
        row(seconds, "ours_auto", "plain") | {"precision": str(auto.dtype).removeprefix("torch.")},
    )
    report.note("label_against_harness", row(seconds, "ours", "harness") | {"batch_size": size})

    [texts] = items(tokenizer, villain, unlisted[:40], "template")
    seconds = alternate(
        {
            "ours": lambda: continuation_logprobs(model, texts),
            "plain": lambda: plain_logprobs(baseline, texts),
        },
        ROUNDS,
    )
    report.note("option_text_against_plain", row(seconds, "ours", "plain"))

    reference = plain_labels(baseline, labels)
    plain_half = load_plain(given.model, torch.bfloat16)
    for name, scorer, loop in (("float32", model, baseline), ("bfloat16", half, plain_half)):
        ours, plain = continuation_logprobs(scorer, labels), plain_labels(loop, labels)
        report.note(
            f"{name}_exactness",
            {
                "largest_difference": apart(ours, plain),
                "same_argmax": same_argmax(ours, plain),
                "questions": len(labels),
                "ours_from_float32": apart(ours, reference),
                "plain_from_float32": apart(plain, reference),
            },
        )

    systems = [persona.prompt for persona in personas.values()][:32]
    everyone = list(items(tokenizer, systems, unlisted[:16], "template"))
    report.note(
        "growth_personas",
        growth(
            lambda n: [continuation_logprobs(model, prompts) for prompts in everyone[:n]],
            (2, 4, 8, 16, 32),
        ),
    )
    [every] = items(tokenizer, villain, unlisted, "template")
    report.note(
        "growth_questions",
        growth(lambda n: continuation_logprobs(model, every[:n]), (20, 40, 80, 160, 320)),
    )

    report.note(
        "peak_memory_mib",
        {side: peak(score_side, side, given.model, labels) for side in ("ours", "plain")},
    )


if __name__ == "__main__":
    main()
