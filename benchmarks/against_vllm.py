"""Scoring on a GPU against vLLM with prefix caching: same weights, same prompts, same labels.

    python benchmarks/against_vllm.py SNAPSHOT OUTPUT.json --python PYTHON [--personas 11]

SNAPSHOT is a folder laid out like the hub's allenai/ai2_arc; PYTHON is the interpreter of an
environment that has vLLM 0.26 or newer. Of each shape a process of ours makes random weights in
bfloat16, saves them with the prompts, and scores; then vLLM loads the weights and answers the same
token ids: one token a prompt, and of it the log-probabilities of the labels. Neither side's start
is counted. The first persona warms both up; the others are timed, three rounds, from an empty cache
of prefixes each.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROUNDS = 3
# in the folder of the weights
TASK, RESULT, OURS, THEIRS = "task.json", "result.json", "ours.npy", "theirs.npy"
TOKENS = (16384, 32768)  # of a step of vLLM: its default on such a GPU, and what ours takes


def main():
    """Read the arguments and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("snapshot")
    parser.add_argument("output", type=Path)
    parser.add_argument("--python", help="interpreter that has vLLM")
    parser.add_argument("--personas", type=int, default=11)
    parser.add_argument("--ours", help="of a process: the shape that it scores")
    parser.add_argument("--vllm", type=int, help="of a process: tokens of a step of vLLM")
    given = parser.parse_args()
    if given.ours:
        ours(given)
    elif given.vllm:
        theirs(given.output, given.vllm)
    else:
        measure(given)


def measure(given):
    """Run both sides of every shape, one after the other, and write what they took."""
    from baselines import apart, same_argmax
    from full_size import SHAPES, machine
    from measuring import Report, in_environment

    report = Report(given.output, machine())
    for name in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            words = [__file__, given.snapshot, folder, "--personas", given.personas]
            subprocess.run([sys.executable, *map(str, words), "--ours", name], check=True)
            own = json.loads(Path(folder, RESULT).read_text())
            found = {"ours": own, "vllm": {}}
            report.note(name, found)
            for tokens in TOKENS:
                in_environment(given.python, [*words, "--vllm", tokens])
                other = json.loads(Path(folder, RESULT).read_text())
                mine, its = (np.load(Path(folder, file)) for file in (OURS, THEIRS))
                other["largest_difference"] = apart(mine, its)
                other["same_argmax"] = same_argmax(mine, its)
                found["vllm"][tokens] = other
                fastest = min(one["seconds_per_persona"] for one in found["vllm"].values())
                found["ratio"] = fastest / own["seconds_per_persona"]
                report.note(name, found)


def rounds(score, count):
    """Time ``score`` a few times; what it took per persona, and its last result."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        result = score()
        seconds.append(time.perf_counter() - start)
    return {"rounds": seconds, "seconds_per_persona": statistics.median(seconds) / count}, result


def ours(given):
    """Make and save the weights and the prompts of a shape, and score them."""
    import torch
    from full_size import make_base, material, matrix_rate, needed_flops

    from persona_leakage.model.kernels import fused
    from persona_leakage.model.scoring import items, logprobs_of_each

    made_of = material(given.snapshot)
    systems = [persona.prompt for persona in list(made_of.personas.values())[: given.personas]]
    role = made_of.study.model.system_role
    first, *others = items(made_of.tokenizer, systems, made_of.asked, role)
    base = make_base(given.ours)
    base.save_pretrained(given.output)
    task = [
        [(item.prompt, [label for (label,) in item.continuations]) for item in made]
        for made in (first, *others)
    ]
    (given.output / TASK).write_text(json.dumps(task))
    base = fused(base)
    list(logprobs_of_each(base, [first]))
    torch.cuda.synchronize()
    found, scored = rounds(lambda: list(logprobs_of_each(base, others)), len(others))
    np.save(given.output / OURS, rectangular([row for persona in scored for row in persona]))
    flops = sum(needed_flops(base, made)[0] for made in others) / len(others)
    found["share_of_matrix_rate"] = flops / found["seconds_per_persona"] / matrix_rate()
    found |= {"personas": len(others), "questions": len(first)}
    (given.output / RESULT).write_text(json.dumps(found))


def theirs(folder, tokens):
    """Let vLLM answer the prompts that lie in a folder with the weights."""
    import vllm
    from vllm import LLM, SamplingParams

    first, *others = json.loads((folder / TASK).read_text())
    begun = time.perf_counter()
    engine = LLM(
        str(folder),
        dtype="bfloat16",
        skip_tokenizer_init=True,
        generation_config="vllm",
        enable_prefix_caching=True,
        max_model_len=2048,
        max_num_batched_tokens=tokens,
    )
    started = time.perf_counter() - begun

    def score(personas):
        asked = [question for persona in personas for question in persona]
        engine.reset_prefix_cache()
        return engine.generate(
            [{"prompt_token_ids": prompt} for prompt, _ in asked],
            [
                SamplingParams(
                    max_tokens=1, temperature=0.0, logprob_token_ids=labels, detokenize=False
                )
                for _, labels in asked
            ],
            use_tqdm=False,
        )

    score([first])
    found, outputs = rounds(lambda: score(others), len(others))
    labels = [labels for persona in others for _, labels in persona]
    logprobs = [
        [output.outputs[0].logprobs[0][label].logprob for label in ids]
        for output, ids in zip(outputs, labels, strict=True)
    ]
    np.save(folder / THEIRS, rectangular(logprobs))
    found |= {"version": vllm.__version__, "start": started}
    (folder / RESULT).write_text(json.dumps(found))


def rectangular(rows):
    """Put rows of log-probabilities, some shorter, into one array; what is missing is -1000."""
    made = np.full((len(rows), max(map(len, rows))), -1000.0, dtype=np.float32)
    for place, row in enumerate(rows):
        made[place, : len(row)] = row
    return made


if __name__ == "__main__":
    main()
