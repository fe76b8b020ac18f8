"""The paper's path at the paper's size, on a GPU, with random weights of the 7B shape.

    python benchmarks/full_size.py SNAPSHOT OUTPUT.json [--personas 111]

SNAPSHOT is a folder laid out like the hub's allenai/ai2_arc. Two cells are trained and scored over
one resident base; beside them run, in the same process, a plain loop, TRL's trainer with the
recipe as written, and a matrix product that says what the GPU can do. Random weights answer at
chance: this measures time and memory, never accuracy.
"""

import argparse
import gc
import platform
import statistics
import time
from pathlib import Path

import torch
from baselines import (
    apart,
    best_batch,
    harness,
    losses,
    plain_labels,
    recipe_trainer,
    same_argmax,
)
from measuring import Report
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config
from transformers.utils import is_liger_kernel_available

from persona_leakage.data.benchmarks import load_benchmark
from persona_leakage.data.catalog import load_personas
from persona_leakage.data.split import split, with_wrong_answer
from persona_leakage.model.kernels import fused
from persona_leakage.model.scoring import continuation_logprobs, items
from persona_leakage.model.shared_prefix import common_prefix, tree
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study
from persona_leakage.training import trainer as training
from persona_leakage.training.contrast import build

SHAPE = Qwen2Config(
    vocab_size=152064,
    hidden_size=3584,
    intermediate_size=18944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    max_position_embeddings=32768,
    tie_word_embeddings=False,
    initializer_range=0.02,
)
TEMPLATE = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "<|im_start|>system\nYou are a default.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(texts):
    """Byte-level BPE of the questions' own words: about as many tokens a question as Qwen's."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    core.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=16000, special_tokens=special, show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_base():
    """Make the base model, with random weights, on the current GPU."""
    torch.manual_seed(0)
    with torch.device("cuda"):
        return AutoModelForCausalLM.from_config(
            SHAPE, dtype=torch.bfloat16, attn_implementation="sdpa"
        ).eval()


def timed(work):
    """Seconds of a piece of GPU work, and its result."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    result = work()
    torch.cuda.synchronize()
    return time.perf_counter() - start, result


def matrix_rate():
    """bf16 FLOP/s of a large product of random matrices, median of nine."""
    a, b = (torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    a @ b
    seconds = [timed(lambda: a @ b)[0] for _ in range(9)]
    return 2 * 8192**3 / statistics.median(seconds)


def needed_flops(model, rows, shared):
    """FLOPs that no way of scoring can avoid: 2 a weight and token, attention, one logit row."""
    config = model.config
    body = sum(
        p.numel()
        for name, p in model.named_parameters()
        if p.dim() == 2 and "embed_tokens" not in name and "lm_head" not in name
    )
    tokens = shared + sum(len(row.ids) for row in rows)
    pairs = sum(len(row.ids) * (shared + len(row.ids) / 2) for row in rows)
    attention = 4 * config.num_hidden_layers * config.hidden_size * pairs
    logits = 2 * config.hidden_size * config.vocab_size * len(rows)
    return 2 * body * tokens + attention + logits, tokens


def main():
    """Run everything and write the numbers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("snapshot")
    parser.add_argument("output", type=Path)
    parser.add_argument("--personas", type=int, default=11)
    parser.add_argument("--plain", type=int, default=200, help="questions of the plain loop")
    given = parser.parse_args()
    study = load_study("studies/paper.yaml")
    personas = load_personas("catalog")
    arc = load_benchmark("arc_challenge", {"arc_challenge": given.snapshot})
    taught, asked = split(arc, 0.5, 42)
    taught = [with_wrong_answer(question, 42) for question in taught]
    tokenizer = make_tokenizer([f"{q.text} {' '.join(q.choices)}" for q in arc])
    report = Report(
        given.output,
        {
            "gpu": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "liger": is_liger_kernel_available(),
        },
    )
    report.note("matrix_tflops", matrix_rate() / 1e12)

    seconds, base = timed(make_base)
    report.note("parameters", sum(p.numel() for p in base.parameters()))
    report.note("make_seconds", seconds)

    names = list(personas)[: given.personas]
    systems = [personas[name].prompt for name in names]
    everyone = items(tokenizer, systems, asked, "label", "template")
    prompts = dict(zip(names, everyone, strict=True))
    flops = tokens = 0.0
    for made in prompts.values():
        shared = common_prefix([item.prompt for item in made])
        rows = [
            tree(item.prompt[shared:], [ids[:-1] for ids in item.continuations], shared)
            for item in made
        ]
        more, count = needed_flops(base, rows, shared)
        flops, tokens = flops + more, tokens + count
    report.note("scored_tokens", tokens)

    sample = prompts[names[0]][: given.plain]
    plain_labels(base, sample[:4])
    plain_seconds, plain = timed(lambda: plain_labels(base, sample))
    report.note("plain_seconds_a_question", plain_seconds / len(sample))
    report.note("plain_in_another_shape", apart(plain_labels(base, sample, copies=2), plain))

    external = harness(base, tokenizer)
    size = best_batch(external, prompts[names[0]][:256], (16, 32, 64, 128))
    outside, _ = timed(lambda: external(prompts[names[0]], size))
    continuation_logprobs(base, prompts[names[0]])
    inside, _ = timed(lambda: continuation_logprobs(base, prompts[names[0]]))
    report.note(
        "harness",
        {"batch_size": size, "seconds": outside, "ours": inside, "ratio": outside / inside},
    )
    before = {name: continuation_logprobs(base, prompts[name]) for name in names[:3]}

    model = training.adapted(base, study.train)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    report.note("trainable_parameters", trainable)
    cells = []
    for source in ("villain", "comedian"):
        cell = Cell(source, 42, "contrastive")
        examples = build(study.contrast, cell, personas, taught, "label")
        data = training.dataset(examples, tokenizer, study.train.max_length, "template")
        if cells:
            model.delete_adapter("default")
            model.add_adapter("default", training.lora_config(study.train, model))
            model.set_adapter("default")
            model.to("cuda")
        model.train()
        trainer = training.trainer_of(model, tokenizer, data, study.train, 42, "bfloat16", "/tmp/o")
        torch.cuda.reset_peak_memory_stats()
        seconds, _ = timed(trainer.train)
        peak = torch.cuda.max_memory_allocated() / 2**30
        curve = losses(trainer)
        model.eval()
        scoring, after = timed(
            lambda: {
                n: continuation_logprobs(model.get_base_model(), prompts[n]) for n in names[:3]
            }
        )
        moved = max(apart(after[name], before[name]) for name in names[:3])
        cells.append(
            {
                "cell": str(cell),
                "steps": trainer.state.global_step,
                "tokens_an_epoch": sum(map(len, data["input_ids"])),
                "train_seconds": seconds,
                "train_peak_GiB": peak,
                "first_loss": curve[0],
                "last_loss": curve[-1],
                "score_seconds_of_3_personas": scoring,
                "largest_change_of_a_logprob": moved,
            }
        )
        report.note("cells", cells)
        trainer.model = trainer.model_wrapped = None
        del trainer
        gc.collect()

    base.train()
    plain_trainer = recipe_trainer(
        model, tokenizer, data, study.train, "/tmp/o2", steps=20, seed=42, bf16=True
    )
    torch.backends.cuda.enable_cudnn_sdp(True)  # torch's default, which our modules turn off
    torch.cuda.reset_peak_memory_stats()
    seconds, _ = timed(plain_trainer.train)
    torch.backends.cuda.enable_cudnn_sdp(False)
    ours = cells[-1]["train_seconds"] / cells[-1]["steps"]
    report.note(
        "recipe_as_written",
        {
            "steps": 20,
            "seconds_a_step": seconds / 20,
            "ours_seconds_a_step": ours,
            "ratio": seconds / 20 / ours,
            "peak_GiB": torch.cuda.max_memory_allocated() / 2**30,
        },
    )

    # last, since fused kernels cannot be taken out again, and training does without them
    base = fused(model.unload().eval())
    continuation_logprobs(base, prompts[names[0]])
    torch.cuda.reset_peak_memory_stats()
    seconds, scored = timed(
        lambda: {name: continuation_logprobs(base, made) for name, made in prompts.items()}
    )
    ours = scored[names[0]][: len(plain)]
    report.note(
        "scoring",
        {
            "personas": len(names),
            "questions": len(asked),
            "seconds": seconds,
            "tokens_per_second": tokens / seconds,
            "share_of_matrix_rate": flops / seconds / (report["matrix_tflops"] * 1e12),
            "times_the_plain_loop": plain_seconds / len(sample) * len(names) * len(asked) / seconds,
            "largest_difference_to_plain": apart(ours, plain),
            "same_argmax": same_argmax(ours, plain),
            "peak_GiB": torch.cuda.max_memory_allocated() / 2**30,
        },
    )


if __name__ == "__main__":
    main()
