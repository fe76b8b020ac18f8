"""What could predict the damage before training: cosines, distances, or the prompts' words."""

from collections.abc import Sequence

import pandas as pd

from persona_leakage.data.catalog import Persona
from persona_leakage.errors import InputError
from persona_leakage.geometry.lexical import lexical


def predictors(
    pairs: pd.DataFrame, source: str, names: Sequence[str], personas: Sequence[Persona]
) -> pd.DataFrame:
    """Everything that could predict damage before training, higher meaning nearer to the source.

    Parameters
    ----------
    pairs : DataFrame
        Of ``cosines.table``.
    source : str
        Name of the persona to be near to.
    names : sequence of str
        The personas to predict for.
    personas : sequence of Persona
        Records of those measured. One that is not in ``pairs`` changes nothing.

    Returns
    -------
    DataFrame
        Index: ``names``. Columns ``raw@L``, ``centred@L``, ``distance@L`` (negated Euclidean) for
        each layer L but 0, where the last token is the same for all; the columns of ``lexical``. A
        column that is the same for all, or not a number for some, is left out.

    Raises
    ------
    InputError
        A persona to predict for was not measured.
    """
    measured = set(pairs["persona"])
    prompts = {p.name: p.prompt or "" for p in personas if p.name in measured}
    for name in (source, *names):
        if name not in prompts:
            raise InputError(
                f"similarity: {name} is not among the personas measured; run `dvc repro geometry`"
            )
    towards = pairs[(pairs["source"] == source) & (pairs["layer"] > 0)]
    columns = {}
    for layer, group in towards.groupby("layer"):
        rows = group.set_index("persona").loc[list(names)]
        columns[f"raw@{layer}"] = rows["raw"]
        columns[f"centred@{layer}"] = rows["centred"]
        columns[f"distance@{layer}"] = -rows["distance"]
    columns |= {str(name): column for name, column in lexical(prompts, source, names).items()}
    table = pd.DataFrame(columns)
    ranked = [name for name in table if table[name].notna().all() and table[name].nunique() > 1]
    return table[ranked]
