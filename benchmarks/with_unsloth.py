"""Train with Unsloth, in an environment of its own: ``gpu_steps.py`` starts this.

    python benchmarks/with_unsloth.py FOLDER DROPOUT [--padded]

FOLDER holds the weights, the tokenizer, and TASK: the examples as token ids and the recipe. Unsloth
changes transformers and TRL in place, and asks for its own versions of them: nothing of the project
is imported. What it took is written to RESULT.
"""

import argparse
import json
from pathlib import Path

TASK, RESULT = "task.json", "result.json"


def main():
    """Read the arguments and train."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("dropout", type=float)
    parser.add_argument("--padded", action="store_true", help="not Unsloth's own, without padding")
    train(parser.parse_args())


def train(given):
    """Train as the task says, and write what it took."""
    import unsloth  # noqa: I001 (before the libraries that it changes)

    import torch
    from clock import Clock
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    task = json.loads((given.folder / TASK).read_text())
    recipe = task["recipe"]
    lora = recipe["lora"]
    model, tokenizer = unsloth.FastLanguageModel.from_pretrained(
        str(given.folder),
        max_seq_length=recipe["max_length"],
        dtype=torch.bfloat16,
        load_in_4bit=False,
    )
    model = unsloth.FastLanguageModel.get_peft_model(
        model,
        r=lora["r"],
        lora_alpha=lora["alpha"],
        lora_dropout=given.dropout,
        use_rslora=lora["rank_stabilised"],
        target_modules=task["projections"],
        use_gradient_checkpointing=False,
        random_state=task["seed"],
    )
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(task["examples"]),
        args=SFTConfig(
            output_dir=str(given.folder / "unsloth"),
            max_length=recipe["max_length"],
            learning_rate=recipe["learning_rate"],
            num_train_epochs=recipe["epochs"],
            per_device_train_batch_size=recipe["batch_size"],
            gradient_accumulation_steps=1,  # Unsloth's own is 2
            **({"padding_free": False} if given.padded else {}),
            lr_scheduler_type="cosine",
            warmup_steps=task["warmup_steps"],
            optim="adamw_torch_fused",
            weight_decay=recipe["weight_decay"],
            max_grad_norm=recipe["max_grad_norm"],
            completion_only_loss=True,
            bf16=True,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=task["seed"],
            data_seed=task["seed"],
        ),
    )
    clock = Clock(task["steps"])
    trainer.add_callback(clock)
    trainer.train()
    logged = trainer.state.log_history
    curve = [float(entry["loss"]) for entry in logged if "loss" in entry]
    result = {
        "version": unsloth.__version__,
        "dropout": given.dropout,
        "padded": given.padded,
        "steps": trainer.state.global_step,
        "seconds_per_step": clock.per_step(task["untimed"]),
        "peak_GiB": torch.cuda.max_memory_allocated() / 2**30,
        "first_loss": curve[0],
        "last_loss": curve[-1],
    }
    (given.folder / RESULT).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
