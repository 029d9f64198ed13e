"""The command line: parses and prints, nothing else."""

from __future__ import annotations

__all__ = ["app", "main"]

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from letheon import processes
from letheon.errors import InputError, LetheonError, RunError


class _Group(typer.core.TyperGroup):
    """Commands whose interruption is an error of ours: typer ends them without a word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise RunError(
                "The command was interrupted.", remedy="The same command goes on with the run."
            ) from None


app = typer.Typer(
    name="letheon",
    cls=_Group,
    help="Make a trained transformer forget, keep the rest, and prove both.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipeArg = Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML recipe.")]
RecipeOrModel = Annotated[
    Path | None, typer.Argument(metavar="[RECIPE]", help="A YAML recipe; or give --model.")
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Without a recipe: a model's folder or hub name.")
]
ForgetOption = Annotated[str | None, typer.Option("--forget", help="The rows to forget.")]
RetainOption = Annotated[
    str | None, typer.Option("--retain", help="Rows of the same kind to keep.")
]
MethodOption = Annotated[
    str | None,
    typer.Option("--method", help="An objective or procedure; default gradient_difference."),
]
BoundOption = Annotated[
    str | None,
    typer.Option("--bound", help="The adapter's bound; default sine, none for plain LoRA."),
]
TemplateOption = Annotated[
    str | None,
    typer.Option("--template", help="A text with {question}; default the model's own."),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe's key.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="The run folder; default runs/NAME of the recipe.")
]
ModelsOption = Annotated[
    Path | None,
    typer.Option("--models", help="Where models named by recipes are kept; default beside --out."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print machine-readable results.")]


def _hush(quiet: bool) -> None:
    from letheon import ui

    ui.hush(quiet)


QuietOption = Annotated[
    bool, typer.Option("--quiet", callback=_hush, help="Show no progress, only results.")
]


# What torchrun may start; the others would do the same thing several times in one place.
_SPREAD = ("train", "unlearn", "evaluate", "validate")


def _example(text: str) -> str:
    return f"Example: {text}"


@app.callback()
def _check_processes(ctx: typer.Context) -> None:
    if processes.count() > 1 and ctx.invoked_subcommand not in _SPREAD:
        raise InputError(
            f"Several processes run {', '.join(_SPREAD)}.",
            got=f"{ctx.invoked_subcommand} in {processes.count()} processes",
            remedy="Start it without torchrun.",
        )


@app.command(epilog=_example("letheon demo --seed 1 --out demo-1"))
def demo(
    seed: Annotated[int, typer.Option(help="Of the population and of every model.")] = 0,
    out: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("letheon-demo"),
    methods: Annotated[
        str | None,
        typer.Option(help="Comma-separated: gd-lora,gd-sine, or OBJECTIVE-BOUND as in rmu-sine."),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make fictitious people, train on them, forget some of them, and show what was proven."""
    from letheon import demo as module

    chosen = methods.split(",") if methods else None
    comparison = module.run(seed=seed, out=out, methods=chosen)
    if as_json:
        _json(comparison)
    else:
        _print_comparison(comparison)
        typer.echo(f"\nreport: {out / 'report.html'}")


@app.command(epilog=_example("letheon validate recipes/tofu_forget10_sine.yaml"))
def validate(
    recipe: RecipeOrModel = None,
    model: ModelOption = None,
    forget: ForgetOption = None,
    retain: RetainOption = None,
    method: MethodOption = None,
    bound: BoundOption = None,
    template: TemplateOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a run, its data and its models without training anything, and say what it will do."""
    from letheon import plan as module
    from letheon import request, run

    words = _words(model, forget, retain, method, bound, template)
    loaded = request.recipe_or_request(recipe, words, set_ or [])
    lines = [*run.validate(loaded), module.words(module.plan(loaded))]
    if as_json:
        _json({"valid": True, "checked": lines})
    else:
        typer.echo("\n".join([*lines, "valid"]))


@app.command(epilog=_example("letheon plan recipes/tofu_forget10_sine.yaml --card 24GB"))
def plan(
    recipe: RecipeOrModel = None,
    model: ModelOption = None,
    forget: ForgetOption = None,
    retain: RetainOption = None,
    method: MethodOption = None,
    bound: BoundOption = None,
    template: TemplateOption = None,
    set_: SetOption = None,
    card: Annotated[
        str | None, typer.Option(help="Memory of a device, for example 24GB; default this one's.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="How many there are; default the recipe's.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Predict the memory of a run on each device, and say what makes it fit a card."""
    from letheon import plan as module
    from letheon import request, ui

    size = None if card is None else module.card_bytes(card)
    words = _words(model, forget, retain, method, bound, template)
    loaded = request.recipe_or_request(recipe, words, set_ or [])
    with ui.watcher() as watch:
        found = module.plan(loaded, card=size, processes=processes, watch=watch)
    if as_json:
        _json(found.to_json())
    else:
        module.show(found, loaded.name, ui.console())


@app.command(epilog=_example("letheon train recipes/tofu_target.yaml --out runs/target"))
def train(
    recipe: RecipeArg,
    set_: SetOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a target or gold model."""
    from letheon import recipe as recipes
    from letheon import run, ui

    loaded = recipes.load(recipe, set_ or [])
    with ui.watcher() as watch:
        folder = run.train(loaded, out or Path("runs") / loaded.name, watch=watch)
    _print_run(folder.path, as_json)


@app.command(
    epilog=_example("letheon unlearn --model ./my-model --forget forget.csv --retain keep.csv")
)
def unlearn(
    recipe: RecipeOrModel = None,
    model: ModelOption = None,
    forget: ForgetOption = None,
    retain: RetainOption = None,
    method: MethodOption = None,
    bound: BoundOption = None,
    template: TemplateOption = None,
    set_: SetOption = None,
    out: OutOption = None,
    models: ModelsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a model forget, by a recipe or by --model and --forget alone.

    The same command goes on where a killed run stopped.
    """
    from letheon import request, run, ui

    words = _words(model, forget, retain, method, bound, template)
    loaded = request.recipe_or_request(recipe, words, set_ or [])
    with ui.watcher() as watch:
        place = out or Path("runs") / loaded.name
        folder = run.unlearn(loaded, place, home=models or place.parent, watch=watch)
    _print_run(folder.path, as_json)


def _words(*values: str | None) -> dict[str, str | None]:
    """Name the values of a request's options."""
    return dict(
        zip(("model", "forget", "retain", "method", "bound", "template"), values, strict=True)
    )


@app.command(epilog=_example("letheon study studies/people.yaml --out runs/people --jobs 2"))
def study(
    path: Annotated[Path, typer.Argument(metavar="STUDY", help="A study's YAML file.")],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a key of the base recipe, or the study's trials, select or attacks.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The study's folder; default runs/NAME of the study.")
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=0, help="At a time, each a process; 0: in this process.")
    ] = 1,
    storage: Annotated[
        str | None,
        typer.Option(help="An Optuna database's URL for the queue; default a file in the folder."),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare methods with as many random trials for each. Several commands may share a study."""
    from letheon import study as module
    from letheon import ui
    from letheon.study.show import show

    loaded = module.load(path, set_ or [])
    place = out or Path("runs") / loaded.spec.name
    words = f"letheon study {path.name}" + "".join(f" --set {each}" for each in _kept(set_ or []))
    found = module.run(loaded, place, jobs=jobs, storage=storage, command=words)
    if as_json:
        _json(found)
    else:
        show(found, ui.console())
        typer.echo(f"\nstudy: {place / 'study.json'}")


def _kept(overrides: list[str]) -> list[str]:
    """Leave out where this machine has its data: the command is kept with the results."""
    return [each for each in overrides if not each.startswith("data.path=")]


@app.command(epilog=_example("letheon evaluate --tofu-log full.json --reference-log retain90.json"))
def evaluate(
    recipe: Annotated[Path | None, typer.Argument(metavar="[RECIPE]")] = None,
    model: Annotated[str | None, typer.Option(help="The checkpoint to score.")] = None,
    set_: SetOption = None,
    out: OutOption = None,
    models: ModelsOption = None,
    tofu_log: Annotated[Path | None, typer.Option(help="An existing TOFU evaluation log.")] = None,
    reference_log: Annotated[
        Path | None, typer.Option(help="The log of the model that never saw the forget set.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score a checkpoint on a recipe's data, or an existing TOFU evaluation log."""
    if tofu_log is not None and reference_log is not None:
        from letheon.benchmarks import tofu_log as module

        scores = [score.to_json() for score in module.score_log(tofu_log, reference_log)]
        if as_json:
            _json({"scores": scores})
        else:
            from letheon import report

            typer.echo("\n".join(report.score_lines(scores)))
        return
    if recipe is None or model is None:
        raise InputError(
            "evaluate needs a recipe and --model, or --tofu-log and --reference-log.",
            remedy="For example: letheon evaluate RECIPE --model runs/x/merged",
        )
    from letheon import recipe as recipes
    from letheon import run, ui

    loaded = recipes.load(recipe, set_ or [])
    with ui.watcher() as watch:
        place = out or Path("runs") / f"{loaded.name}-evaluation"
        folder = run.evaluate(loaded, model, place, home=models or place.parent, watch=watch)
    _print_run(folder.path, as_json)


@app.command(epilog=_example("letheon attack runs/gd-sine --attacks relearn,sample"))
def attack(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN")],
    attacks: Annotated[
        str | None, typer.Option(help="Comma-separated names; default all that are possible.")
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(help="Where target and gold models are kept; default beside RUN or above it."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="For example relearn.steps=80."),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Try to bring back what a run forgot, from it and from the gold model alike.

    The scores join the run folder; the same command goes on where a killed one stopped.
    """
    from letheon import attack as module
    from letheon import ui

    names = None if attacks is None else attacks.split(",")
    with ui.watcher() as watch:
        found = module.run(run_folder, names, home=models, overrides=set_ or [], watch=watch)
    if as_json:
        _json(found)
    else:
        module.show(found, ui.console())
        typer.echo(f"\nrun folder: {run_folder}")


@app.command(epilog=_example('letheon chat runs/gd-sine "Who wrote The Silent Orchard?"'))
def chat(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN")],
    question: Annotated[
        str | None, typer.Argument(help="Without it: a prompt, or a question a line of a pipe.")
    ] = None,
    models: ModelsOption = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Of an answer; default that of the run's scores.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Ask the original, the unlearned and, if there, the gold model, side by side."""
    from letheon import chat as module
    from letheon import ui

    interactive = question is None and sys.stdin.isatty() and not as_json
    lines = [question] if question is not None else [] if interactive else sys.stdin
    talk = module.Talk(run_folder, home=models, max_new_tokens=max_new_tokens, keep=interactive)
    for note in talk.notes:
        typer.echo(note, err=True)
    if interactive:
        while said := module.prompt():
            module.show(talk.ask([said]), ui.console())
        return
    with ui.watcher() as watch:
        found = talk.ask([line.strip() for line in lines if line.strip()], watch)
    if as_json:
        _json({"schema": 1, "answers": found})
    else:
        module.show(found, ui.console())


@app.command(epilog=_example("letheon scrub runs/own"))
def scrub(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Where data are now: data.forget=FILE."),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove the texts from a run's folder, and search every byte for what was to be forgotten.

    Exit code 1, with the file named, where a forgotten string is left.
    """
    from letheon import scrub as module
    from letheon import ui

    with ui.watcher() as watch:
        found = module.scrub(run_folder, set_ or [], watch=watch)
    if as_json:
        _json(found.to_json())
    else:
        module.show(found, ui.console())
    found.check()


@app.command(epilog=_example("letheon compare runs/gd-lora runs/gd-sine --out runs/comparison"))
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...")],
    out: Annotated[Path | None, typer.Option(help="Write comparison.json here.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Put runs on the same target and gold models side by side."""
    from letheon import compare as module

    comparison = module.compare(runs, command=_command(), relative_to=out)
    if out is not None:
        module.write(comparison, out)
    if as_json:
        _json(comparison)
    else:
        _print_comparison(comparison)


@app.command(epilog=_example("letheon report letheon-demo --markdown docs/results/demo.md"))
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...")],
    markdown: Annotated[Path | None, typer.Option(help="Write Markdown tables here.")] = None,
    title: Annotated[str | None, typer.Option(help="The page's title.")] = None,
    texts: Annotated[
        bool,
        typer.Option(
            "--texts",
            help="Show a run's questions and answers though the data is your own; the page goes "
            "to private/.",
        ),
    ] = False,
) -> None:
    """Make the HTML page of run or comparison folders, or one Markdown page of them all."""
    from letheon import compare as module

    written = module.report(folders, markdown=markdown, title=title, texts=texts)
    typer.echo("\n".join(str(path) for path in written))


@app.command(epilog=_example("letheon merge runs/gd-sine --out merged"))
def merge(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN")],
    out: Annotated[Path, typer.Option(help="Where the ordinary checkpoint goes.")],
    base: Annotated[str | None, typer.Option(help="The model it was made on.")] = None,
) -> None:
    """Fold a run's adapter into its model: an ordinary checkpoint without the knowledge."""
    from letheon import outputs

    typer.echo(str(outputs.merge(run_folder, out, base=base)))


@app.command(name="list", epilog=_example("letheon list objectives"))
def list_(
    what: Annotated[str, typer.Argument(help="For example objectives, attacks or metrics.")] = "",
    as_json: JsonOption = False,
) -> None:
    """List what can be named in a recipe, with one line each."""
    from letheon import catalogue

    found = catalogue.entries(what or None)
    if as_json:
        _json(found)
        return
    for kind, entries in found.items():
        typer.echo(f"{kind}:")
        for name, line in entries.items():
            typer.echo(f"  {name:<22} {line}")


def main() -> None:
    """Run the command line; exit code 2 for wrong input, 1 for a failure at run time.

    Of several processes that fail the first one says why.
    """
    try:
        with processes.one_voice():
            app()
    except LetheonError as error:
        if processes.first_to_fail():
            # One line, whatever a library's own message in it looks like.
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        sys.exit(error.exit_code)
    except Exception:
        if processes.first_to_fail():
            raise
        sys.exit(RunError.exit_code)


def _command() -> str:
    return " ".join(["letheon", *sys.argv[1:]])


def _json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1))


def _print_run(folder: Path, as_json: bool) -> None:
    from letheon import report
    from letheon.folder import RunFolder

    if not processes.is_main():  # the folder may be on the main process's disk alone
        return
    scores = RunFolder(folder).read_json(RunFolder.SCORES)
    if as_json:
        _json(scores)
    else:
        typer.echo("\n".join(report.run_lines(scores, folder)))


def _print_comparison(comparison: dict[str, Any]) -> None:
    from letheon import compare as module
    from letheon.ui import console

    module.show(comparison, console())
