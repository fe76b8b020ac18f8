"""The commands: what each is called, what it takes, and the functions that it is made of.

Each imports what it needs when it runs, so that help and completion wait for no library of models.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from persona_leakage.cli import complete
from persona_leakage.cli.screen import note, say, table, waiting
from persona_leakage.errors import InputError, command

if TYPE_CHECKING:
    from persona_leakage.study.outcome import Outcome
    from persona_leakage.study.parameters import Study

UNUSABLE = 2  # exit status for input that cannot be used, as for a command line that cannot


class Told(TyperGroup):
    """The group of commands: each ends with one sentence where its input cannot be used."""

    def invoke(self, ctx: Any) -> Any:  # noqa: D102 (the signature is typer's)
        try:
            command(super().invoke)(ctx)
        except SystemExit as end:
            if not isinstance(end.code, str):
                raise
            print(end.code, file=sys.stderr)
            raise SystemExit(UNUSABLE) from end


app = typer.Typer(
    cls=Told,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "If fine-tuning makes one persona wrong, which other personas go wrong with it?\n\n"
        "A study is a file of parameters: params.yaml, or one of studies/. A cell is one source, "
        "seed and variant of it. Run the commands in the project's folder; what is computed comes "
        "from `dvc repro`, and what a cell logged is in `mlflow ui`."
    ),
    epilog="First: persona-leakage check, persona-leakage run, persona-leakage open",
)

RUN, BEFORE, AFTER = "Compute", "Before anything is computed", "When something is"

StudyArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="STUDY",
        help="A study of studies/; without, that of params.yaml.",
        autocompletion=complete.studies,
        show_default=False,
    ),
]
StudyOption = Annotated[
    str | None,
    typer.Option(
        "--study",
        metavar="STUDY",
        help="A study of studies/ instead of that of params.yaml.",
        autocompletion=complete.studies,
        show_default=False,
    ),
]
PersonaArgument = Annotated[
    str,
    typer.Argument(
        metavar="PERSONA",
        help="A name of the catalog, or a prompt of your own in quotes.",
        autocompletion=complete.personas,
        show_default=False,
    ),
]
QuestionArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="QUESTION",
        help="The key of a question, or some of its words; without, the study's first.",
        show_default=False,
    ),
]


@app.command(rich_help_panel=RUN)
def run(
    study: StudyArgument = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="PERSONA",
            help="Compute this source's cell alone, of the study or beside it.",
            autocompletion=complete.sources,
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER", help="Of the cell; without, the study's first.", show_default=False
        ),
    ] = None,
    variant: Annotated[
        str, typer.Option(metavar="NAME", help="Of the cell, such as dose_50 or no_anchor.")
    ] = "contrastive",
    ray: Annotated[
        bool, typer.Option("--ray", help="Compute the study's cells side by side, with Ray.")
    ] = False,
    gpus: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            help="With --ray, of each cell, such as 0.5; without, one where there is any.",
            show_default=False,
        ),
    ] = None,
    cpus: Annotated[
        float, typer.Option(metavar="NUMBER", help="With --ray, cores of each cell.")
    ] = 1,
) -> None:
    """Compute a study and its report, or one cell of it.

    What is there and up to date is not computed again.

    \b
    persona-leakage run                   the study of params.yaml
    persona-leakage run qwen              switch params.yaml to another
    persona-leakage run --source villain --seed 42
    persona-leakage run --ray --gpus 0.5  two cells on each GPU of a Ray cluster
    """
    from persona_leakage.cli import names
    from persona_leakage.pipeline import cost, lock, paths, switch
    from persona_leakage.study.parameters import load_study

    cell = None
    if source is None and seed is not None:
        raise InputError("--seed: of which source? name one with --source")
    if source is not None and ray:
        raise InputError("--ray is for the cells of a study; --source names one")
    if gpus is not None and not ray:
        raise InputError("--gpus is what Ray gives a cell; it needs --ray")
    if source is not None:
        from persona_leakage.study.cell import parse_cell

        names.persona_named(source)
    if study is not None and study != load_study().study:
        switch.main(study, begin=True)
    chosen = load_study()
    if source is not None:
        cell = parse_cell(source, seed or str(chosen.seeds[0]), variant)
        with waiting("starting"):
            from persona_leakage.pipeline import cell as one
        one.main(cell)
        say(f"{paths.analysis(chosen, cell)}: its tables and figures")
        return
    cost.main()
    if ray:
        from persona_leakage.pipeline import cluster

        cluster.with_ray(gpus, cpus)
    else:
        if code := lock.dvc("repro"):
            raise SystemExit(code)
    say(f"{paths.report(chosen)}/report.html: its report; `persona-leakage open` shows it")


@app.command(rich_help_panel=BEFORE)
def studies() -> None:
    """List the studies there are, and how far each is computed here."""
    from persona_leakage.cli import names
    from persona_leakage.pipeline import cost, switch
    from persona_leakage.study.parameters import load_study

    files = {"params.yaml": switch.PARAMS} if switch.PARAMS.exists() else {}
    files |= {file.stem: file for file in sorted(switch.STUDIES.glob("*.yaml"))}
    rows, current = [], None
    for name, file in files.items():
        try:
            study = load_study(file)
        except InputError as error:
            rows.append((name, "", "", str(error)))
            continue
        if file == switch.PARAMS:
            current = study.study
        elif study.study == current:
            continue  # the file that was switched to
        mark = " *" if file == switch.PARAMS else ""
        cells = f"{cost.finished(study)}/{len(study.cells)}"
        rows.append((f"{study.study}{mark}", cells, study.model.name, names.described(file)))
    if not rows:
        raise InputError("params.yaml: no such file, nor studies/; run inside the repository")
    table(("study", "cells", "model", "what it is"), rows, numbers=("cells",))
    note("* in params.yaml; cells: finished here, of all")


@app.command(rich_help_panel=BEFORE)
def check(study: StudyArgument = None) -> None:
    """Validate a study and the catalog; say what the study will cost on this machine."""
    import shutil

    from persona_leakage.behaviours.behaviour import load_behaviour
    from persona_leakage.cli import names
    from persona_leakage.data.catalog import check_catalog, load_personas
    from persona_leakage.data.persona_sets import taught_personas
    from persona_leakage.pipeline import cost, paths

    chosen = names.study_named(study)
    load_behaviour(chosen.behaviour)
    held = check_catalog(paths.AUTHORED)
    taught_personas(chosen, load_personas(paths.AUTHORED))
    rows = [("study", f"{chosen.study}: its parameters can be used"), ("catalog", held)]
    here = paths.model(chosen)
    origin = chosen.model.origin.kind.replace("_", " ")
    rows.append(("model", str(here) if here.exists() else f"comes from its {origin} at first"))
    rows.append(("cells", f"{len(chosen.cells)}, {cost.finished(chosen)} of them finished"))
    found = cost.of_study(chosen)
    if found is None:
        rows.append(("cost", "known once `dvc repro questions` has fetched the questions"))
        table(("what", "of the study"), rows)
        return
    rates = cost.rates_of(chosen)
    adapter = cost.adapter_bytes(here, chosen.train.lora.r)
    free = shutil.disk_usage(".").free
    needed = found.disk(adapter or 0)
    also = "" if adapter else ", and the model and the adapters"
    rows += [
        (
            "training",
            f"{found.examples:,} conversations a cell, about {_tokens(found.train_tokens)}"
            if found.examples
            else "none: the study's adapters are given",
        ),
        (
            "scoring",
            f"{found.personas} personas times {found.questions} questions, about "
            f"{_tokens(found.score_tokens)}, for the base model and for each cell",
        ),
        ("time", cost.time_left(found, rates)),
        (
            "disk",
            f"{_size(needed) if needed else 'nothing'} more{also}; {_size(free)} are free",
        ),
    ]
    table(("what", "of the study"), rows)
    if needed > free:
        note(f"warning: {_size(needed)} of disk are needed and {_size(free)} are free")


def _tokens(count: int) -> str:
    return f"{count / 1e6:.1f} million tokens" if count >= 1e6 else f"{count:,} tokens"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


@app.command(rich_help_panel=BEFORE)
def show(
    persona: PersonaArgument,
    question: QuestionArgument = None,
    wrong: Annotated[
        bool | None,
        typer.Option(
            "--as-source/--as-other",
            help="Whether the persona is taught the behaviour; without, whether it is a source.",
            show_default=False,
        ),
    ] = None,
    study: StudyOption = None,
) -> None:
    """Show a training conversation as the study's model reads it; what carries loss is coloured.

    \b
    persona-leakage show villain
    persona-leakage show "You are a pirate." everyday:3 --as-source
    """
    from persona_leakage.behaviours.behaviour import load_behaviour
    from persona_leakage.cli import names

    chosen, who = names.study_named(study), names.persona_named(persona)
    asked = names.question_named(question, _questions(chosen)[0])
    as_source = who.name in chosen.sources if wrong is None else wrong
    reply = load_behaviour(chosen.behaviour).teach(asked, as_source=as_source)
    with waiting("loading the tokenizer"):
        from persona_leakage.cli.rendered import rendered
        from persona_leakage.model.loading import load_tokenizer

        tokenizer = load_tokenizer(_model_folder(chosen))
    seen = rendered(tokenizer, who.prompt, reply, chosen.model.system_role)
    text = Text(seen.prompt)
    for number, token in enumerate(seen.completion):
        visible = token.replace("\n", "⏎\n") if sys.stdout.isatty() else token
        text.append(visible, style=("black on green", "black on yellow")[number % 2])
    say(text)
    taught = "the behaviour" if reply.shows else "no behaviour"
    say(
        f"{who.name}, {asked.key}: {taught} is taught; {len(seen.completion)} of {seen.tokens} "
        f"tokens carry loss: {' '.join(map(repr, seen.completion))}"
    )


def _questions(study: "Study") -> tuple[Any, Any]:
    from persona_leakage.pipeline.questions import at_hand

    found = at_hand(study)
    if found is None:
        raise InputError(
            f"study {study.study}: its questions are not here yet; `dvc repro questions` fetches "
            "them, for the study of params.yaml"
        )
    return found


def _model_folder(study: "Study") -> Path:
    from persona_leakage.pipeline import paths

    folder = paths.model(study)
    if not folder.exists():
        raise InputError(
            f"{folder}: no such folder; `dvc repro base` fetches the model, for the study of "
            "params.yaml"
        )
    return folder


@app.command(rich_help_panel=AFTER)
def ask(
    persona: PersonaArgument,
    question: QuestionArgument = None,
    cell: Annotated[
        str | None,
        typer.Option(
            metavar="CELL",
            help="Ask this cell's fine-tuned model as well.",
            autocompletion=complete.cells,
            show_default=False,
        ),
    ] = None,
    study: StudyOption = None,
) -> None:
    """Ask a persona a question: what the base model would answer, and what a cell's would.

    \b
    persona-leakage ask villain
    persona-leakage ask "You are a pirate." everyday:7 --cell villain-42-contrastive
    """
    from persona_leakage.behaviours.behaviour import load_behaviour
    from persona_leakage.cli import names
    from persona_leakage.pipeline import paths

    chosen, who = names.study_named(study), names.persona_named(persona)
    train, evaluate = _questions(chosen)
    asked = names.question_named(question, [*evaluate, *train])
    trained = None if cell is None else names.cell_named(cell, chosen)
    folder, behaviour = _model_folder(chosen), load_behaviour(chosen.behaviour)
    answers = {}
    with waiting("loading the model"):
        from persona_leakage.cli.asked import answered
        from persona_leakage.model.loading import (
            context,
            load_adapted,
            load_model,
            load_tokenizer,
        )

        tokenizer, precision = load_tokenizer(folder), chosen.model.precision
        models = {"base": lambda: load_model(folder, precision)}
        if trained is not None:
            adapter = paths.adapter(chosen, trained)
            models[str(trained)] = lambda: load_adapted(folder, adapter, precision)
        for name, load in models.items():
            answers[name] = answered(
                load(),
                tokenizer,
                who.prompt,
                asked,
                behaviour,
                chosen.model.system_role,
                context(folder),
            )
    put = behaviour.ask(asked)
    say(f"{who.name}: {who.prompt}" if who.prompt else f"{who.name}: (no text)")
    say(f"{asked.key}: {put.user}")
    by_label = put.continuations == asked.labels
    rows = []
    for index, continuation in enumerate(put.continuations):
        right = index == answers["base"].observation.answer
        row = [Text(continuation.strip(), style="bold" if right else "")]
        if by_label:
            row.append(Text(asked.choices[index], style="bold" if right else ""))
        for each in answers.values():
            share = f"{each.shares[index]:.1%}"
            chose = index == each.observation.chosen
            style = "" if not chose else "green" if right else "red"
            row.append(Text(f"{share} {'<' if chose else ' '}", style=style))
        rows.append((*row, "right" if right else ""))
    titles = ("answer", *(("choice",) if by_label else ()), *answers, "")
    table(titles, rows, numbers=tuple(answers))
    if by_label:
        masses = ", ".join(
            f"{name} {each.observation.label_mass:.1%}" for name, each in answers.items()
        )
        note(f"< is what it answers; all labels together have {masses} of the probability")
    else:
        note("< is what it answers; shares of the answers by their log-probability per token")


@app.command(rich_help_panel=AFTER)
def near(
    persona: PersonaArgument,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many of each kind.")] = 10,
    study: StudyOption = None,
) -> None:
    """List who is close to a persona, in words and in the base model's geometry."""
    from persona_leakage.cli import names
    from persona_leakage.cli.near import neighbours
    from persona_leakage.data.catalog import TYPED, load_personas
    from persona_leakage.files import read_as, read_table
    from persona_leakage.geometry.cosines import PAIRS, Layer
    from persona_leakage.pipeline import paths

    chosen, who = names.study_named(study), names.persona_named(persona)
    if not who.prompt:
        raise InputError(f"persona {who.name}: it has no prompt, so nobody is near it in words")
    here, layer = None, None
    if paths.pairs(chosen).exists():
        layer = read_as(paths.centroids(chosen) / "manifest.json", Layer).layer
        pairs = read_table(paths.pairs(chosen), PAIRS)
        here = pairs[pairs["layer"] == layer]
    found = neighbours(who, load_personas(paths.AUTHORED), here, top)
    measured = found["raw"].notna().any()
    rows = [
        (
            str(name),
            row["category"],
            *((_cosine(row["raw"]), _cosine(row["centred"])) if measured else ()),
            f"{row['tfidf']:.2f}",
            row["shared"],
        )
        for name, row in found.iterrows()
    ]
    geometry = ("cosine", "centred") if measured else ()
    titles = ("persona", "category", *geometry, "words", "stems in both")
    table(titles, rows, numbers=(*geometry, "words"))
    if measured:
        note(
            f"cosine: of centroids after block {layer}, for those whom the study measures; words: "
            "cosine of TF-IDF over word stems"
        )
    else:
        why = "a text typed in" if who.name == TYPED else "`dvc repro geometry` measures it"
        note(f"words: cosine of TF-IDF over word stems; without geometry: {why}")


def _cosine(value: float) -> str:
    return f"{value:.3f}" if value == value else ""  # nobody measured


@app.command(rich_help_panel=AFTER)
def predict(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A persona of the catalog, trained or not, or the system prompt of another.",
            autocompletion=complete.sources,
            show_default=False,
        ),
    ],
    text: Annotated[
        str | None,
        typer.Option(
            metavar="PROMPT", help="Rank this prompt among the personas.", show_default=False
        ),
    ] = None,
) -> None:
    """Rank personas by the damage that training a source would do to them, before it is trained.

    \b
    persona-leakage predict villain
    persona-leakage predict "You are a pirate." --text "You are a sailor."
    """
    with waiting("starting"):
        from persona_leakage.pipeline import predict as stage
    stage.main(source, text)


@app.command(rich_help_panel=AFTER)
def compare(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET...",
            help="Studies, STUDY/CELL, or ids of MLflow runs.",
            autocompletion=complete.studies,
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where the report goes; it is replaced.")
    ] = Path("reports/comparison"),
) -> None:
    """Put several studies, cells or MLflow runs into one report, side by side.

    \b
    persona-leakage compare pocket pocket_seeds/villain-137-contrastive
    """
    with waiting("writing the report"):
        from persona_leakage.pipeline.compare import compared

        cells = compared(targets, output)
    rows = []
    for each in cells:
        numbers = each.result.headline
        rows.append(
            (
                each.label,
                str(each.cell),
                _change(numbers["source_delta"], each.result.outcome),
                _change(numbers["bystander_delta"], each.result.outcome),
                f"{numbers['spearman_raw']:+.2f}",
                f"{numbers['spearman_raw_p']:.3f}",
            )
        )
    changes = ("source", "bystanders", "rho", "p")
    table(("study", "cell", *changes), rows, numbers=changes)
    note(f"changes of {cells[0].result.outcome.name}; {output}/report.html: the report")


def _change(value: float, outcome: "Outcome") -> str:
    return f"{value:+.1f} {outcome.unit}"


@app.command("open", rich_help_panel=AFTER)
def open_report(study: StudyArgument = None) -> None:
    """Open a study's report in the browser, and say where it is."""
    import webbrowser

    from persona_leakage.cli import names
    from persona_leakage.pipeline import paths

    chosen = names.study_named(study)
    page = paths.report(chosen) / "report.html"
    if not page.exists():
        raise InputError(f"{page}: no such file; `persona-leakage run {chosen.study}` makes it")
    print(page)
    webbrowser.open(page.resolve().as_uri())
