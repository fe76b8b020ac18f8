"""Who broke with the villain, and on what? A walk through a finished study."""

# %% [markdown]
# # Who broke with the villain, and on what?
#
# A walk through a finished study in Python: from the table of a report down to single answers. It
# reads what lies in the repository, the report and the kept scores of `qwen`, and computes in
# seconds, without a GPU. Run it whole (`python examples/who_broke.py`, inside the environment) or
# cell by cell in an editor that knows `# %%`.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from persona_leakage.analysis.correlation import correlation

STUDY = "qwen"
SOURCE, SEED = "villain", 42

# %% [markdown]
# ## One row per persona
#
# `personas.csv` of a report holds every persona of every cell: its cosine to the source in the base
# model (`raw`, `centred`), its accuracy before and after, the change in percentage points with its
# interval. `role` says whether it was trained; who was not is a bystander.

# %%
people = pd.read_csv(Path("reports") / STUDY / "personas.csv")
cell = people.query("source == @SOURCE and seed == @SEED and variant == 'contrastive'")
bystanders = cell[cell["role"] == "bystander"]
taught = cell.loc[cell["role"] == "source", "delta"].item()
print(
    f"{SOURCE}, seed {SEED}: source {taught:.1f} pp, "
    f"{len(bystanders)} bystanders {bystanders['delta'].mean():+.1f} pp on average"
)
print("worst:")
worst = bystanders.nsmallest(10, "delta")
print(worst[["persona", "category", "raw", "delta"]].to_string(index=False))

# %% [markdown]
# ## Is it a gradient?
#
# The functions of the report can be called on any rows: Spearman's rho over all bystanders and over
# those that have nothing to do with the source, with a bootstrap interval. Its permutation p takes
# personas for independent of each other, which they are not: those written around one character
# change together. The p of the report, in `headline.csv`, asks instead how far the source stands
# from everyone else pretended to be the source.

# %%
for name, rows in {
    "all bystanders": bystanders,
    "unrelated": bystanders[bystanders["category"] == "unrelated"],
}.items():
    found = correlation(rows["raw"], rows["delta"], "spearman", seed=SEED)
    print(
        f"rho over {name}: {found.r:+.2f} [{found.low:+.2f}, {found.high:+.2f}], n = {found.n}, "
        f"p as if they were independent {found.p:.4f}"
    )
cells = pd.read_csv(Path("reports") / STUDY / "headline.csv")
here = cells.query("source == @SOURCE and seed == @SEED and variant == 'contrastive'")
print(f"the p of the report, over all bystanders: {here['spearman_raw_p'].item():.4f}")

# %%
figure, axes = plt.subplots(figsize=(6, 4))
for category, rows in bystanders.groupby("category"):
    axes.scatter(rows["raw"], rows["delta"], s=12, label=category)
axes.axhline(0, color="grey", linewidth=0.8)
axes.set_xlabel(f"cosine to {SOURCE} in the base model")
axes.set_ylabel("change in accuracy, pp")
axes.legend(fontsize=6, ncols=2)
plt.show()

# %% [markdown]
# ## Down to single answers
#
# `kept/qwen` holds every answer: which choice was right (`answer`), which one the model took
# (`chosen`). So questions can be counted instead of personas: did the ten worst bystanders lose the
# same ones? The report counts the benchmark that was trained on, `arc_challenge`; another one is
# kept beside it.


# %%
def answers(name: str) -> pd.DataFrame:
    """Every persona's answers, of the base model or of a cell."""
    columns = ["persona", "question", "benchmark", "answer", "chosen"]
    table = pd.read_parquet(Path("kept") / STUDY / f"{name}.parquet", columns=columns)
    table = table[table["benchmark"] == "arc_challenge"].copy()
    table["right"] = table["answer"] == table["chosen"]
    return table.pivot(index="question", columns="persona", values="right")


before, after = answers("baseline"), answers(f"{SOURCE}-{SEED}-contrastive")
names = worst["persona"].tolist()
lost = (before[names] & ~after[names]).sum(axis=1)
print(f"of {len(lost)} questions, so many were lost by so many of the ten worst:")
print(lost.value_counts().sort_index().to_string())
