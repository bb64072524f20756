"""The command line. Each command imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import errno
import gc
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="workbench",
    help="Experiment workbench for research on language models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,  # plain help needs no rich, whose import would double its time
)
_NOT_WRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT})
"""What the system says of a disk or a folder that takes no files."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _enter_project() -> Path:
    """Go to the project's folder, which is this one or one above, since what commands print and read is relative to it.

    Raises:
        PipelineError: there is none.
    """
    from workbench.errors import PipelineError
    from workbench.lib.layout import find_project

    here = Path.cwd()
    found = find_project(here)
    if found is None:
        what = "neither this folder nor one above it holds dvc.yaml"
        raise PipelineError(what, str(here), "go to the folder of the project")
    if found != here.resolve():
        os.chdir(found)
        typer.echo(f"in {found}", err=True)
    return Path.cwd()


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(context: typer.Context, entry: Annotated[str, typer.Argument(help="Key in params.yaml, such as curate.corpus.")]) -> None:
    """Run one stage. dvc.yaml calls it; every further option names a path: --corpus data/split/train."""
    from workbench.errors import PipelineError
    from workbench.execution.runner import run_stage

    words = context.args
    if len(words) % 2 or not all(word.startswith("--") for word in words[::2]):
        raise PipelineError(
            f"options are not pairs of --FLOW PATH: {' '.join(words)}", f"stage {entry}", "give every option one path"
        )
    run_stage(entry, {word[2:].replace("-", "_"): path for word, path in zip(words[::2], words[1::2], strict=True)})


@app.command()
def resolve() -> None:
    """Check params.yaml, compute.yaml, dvc.yaml and all plugins; write plugins-lock.json."""
    from dataclasses import replace

    from workbench.artifacts import dvc_lock
    from workbench.execution import abandoned
    from workbench.lib.layout import main_root
    from workbench.project.resolve import resolve as resolve_all
    from workbench.tracking.session import current_session
    from workbench.tracking.watcher import ensure_watcher, left_behind

    content = resolve_all(Path.cwd())
    for address, moved in content.get("moved", {}).items():
        if moved["rerun"] == "warn":
            named = ", ".join(moved["plugins"])
            typer.echo(f"warning: {address}: the code of {named} has moved, and `rerun: warn` keeps the result", err=True)
    root = main_root(Path.cwd())
    if old := abandoned.remove_old(root):
        size = sum(item.size for item in old) / 1e6
        what = f"{size:,.0f} MB of checkpoints that {len(old)} killed runs left over {abandoned.KEPT_DAYS} days ago"
        typer.echo(f"removed {what}", err=True)
    for warning in left_behind(root):
        typer.echo(f"earlier sessions: {warning}", err=True)
    ensure_watcher(root, replace(current_session(Path.cwd()), absent=dvc_lock.absent(Path.cwd())))


@app.command()
def check() -> None:
    """Check everything that `resolve` checks, and write nothing."""
    from workbench.project.resolve import check as check_all
    from workbench.project.resolve import examine

    root = _enter_project()
    resolved, calls = check_all(root)
    examine(root, resolved)
    typer.echo(f"{len(resolved)} entries of params.yaml and {len(calls)} stages of dvc.yaml are sound")


@app.command()
def plan(
    targets: Annotated[list[str] | None, typer.Argument(help="Stages as DVC names them; none means all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what `dvc repro` would run now, why, and what it will cost."""
    from workbench.lib.layout import main_root
    from workbench.planning import forecast, page
    from workbench.planning.plan import make

    root = _enter_project()
    plans = make(root, targets or [])
    predicted = {plan.stage: (plan.record, plan.forecast) for plan in plans}
    forecast.write(main_root(root), predicted)
    typer.echo(json.dumps(page.records(plans), indent=1) if as_json else "\n".join(page.lines(plans)))


@app.command()
def why(
    stage: Annotated[str, typer.Argument(help="A stage as DVC names it, such as eval-perplexity@base.")], as_json: AsJson = False
) -> None:
    """Say why a stage would or would not run, back to what changed."""
    from workbench.errors import PipelineError
    from workbench.planning import page
    from workbench.planning.plan import make

    plans = make(_enter_project(), [stage], costs=False)
    if stage not in (names := [plan.stage for plan in plans]):
        raise PipelineError(f"{stage!r} is not one stage", "workbench why", f"name one of {', '.join(names)}")
    typer.echo(json.dumps(page.record(plans, stage), indent=1) if as_json else "\n".join(page.explanation(plans, stage)))


@app.command()
def plugins(
    as_json: AsJson = False, errors: Annotated[bool, typer.Option("--errors", help="Show the tracebacks of broken ones.")] = False
) -> None:
    """List the installed plugins."""
    from workbench.catalog import listing
    from workbench.hosting.host import registry

    found = registry(Path.cwd())
    rows = listing.rows(found)
    typer.echo(json.dumps(rows, indent=1) if as_json else "\n".join(listing.lines(rows)))
    for broken in found.broken if errors and not as_json else ():
        typer.echo(f"\n{broken.distribution} {broken.version}\n{broken.traceback}")


@app.command()
def info(kind: str, name: str, as_json: AsJson = False) -> None:
    """Describe one plugin: what it does, its configuration, an example that is valid as it stands."""
    from workbench.catalog import listing
    from workbench.hosting.host import registry

    known = registry(Path.cwd())
    facts = listing.describe(known, known.select(kind, name))
    typer.echo(json.dumps(facts, indent=1, ensure_ascii=False) if as_json else "\n".join(listing.page(facts)))


@app.command()
def schema(
    write: Annotated[
        bool, typer.Option("--write", help="Write it to .workbench/params.schema.json, where editors look.")
    ] = False,
) -> None:
    """Print the JSON Schema of params.yaml, built from the installed plugins."""
    from workbench.catalog import schema as schemas
    from workbench.hosting.host import registry

    known = registry(Path.cwd())
    typer.echo(f"wrote {schemas.write(Path.cwd(), known)}" if write else json.dumps(schemas.build(known), indent=1))


@app.command()
def new_plugin(
    kind: str,
    name: Annotated[str, typer.Argument(help="Lower-case words joined by hyphens; `use:` will name it.")],
    into: Annotated[Path, typer.Option(help="Folder to write KIND-NAME into.")] = Path("plugins"),
    model: Annotated[
        bool, typer.Option("--model", help="Of kind pretrain: with a model class of its own, which every stage finds.")
    ] = False,
) -> None:
    """Write a distribution for a new plugin that installs, passes its tests and runs as it is."""
    from workbench.commands import scaffold

    draft = scaffold.draft(kind, name, model=model)
    folder = scaffold.write(draft, into)
    typer.echo(f"wrote {folder}; next:\n\n" + "\n".join(f"  {line}" for line in scaffold.next_steps(draft, folder)))


@app.command()
def use(
    kind: str,
    name: str,
    at: Annotated[
        str, typer.Option(help="The entry, such as align.grpo, where the section has several or is to get one more.")
    ] = "",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of its configuration; dots lead into sections. Repeatable.")
    ] = None,
    part: Annotated[
        list[str] | None, typer.Option(help="A plugin for a list of the entry, such as a reward of grpo. Repeatable.")
    ] = None,
) -> None:
    """Make an entry of params.yaml use a plugin; add a filter or reward to an entry, or a tracker to compute.yaml.

    Nothing is written unless the result passes `workbench check`. The rest of the file stays as it is, comments included.
    """
    from workbench.catalog.configuration import parse_settings
    from workbench.commands import use as uses

    change = uses.plan(Path.cwd(), uses.Request(kind, name, at, parse_settings(set_ or []), part or []))
    steps = uses.apply(Path.cwd(), change)
    typer.echo(
        "\n".join([*(change.diff() or ["nothing differs"]), "", f"wrote {change.file}; next:", *(f"  {step}" for step in steps)])
    )


@app.command()
def sniff(path: Annotated[str, typer.Argument(help="A file, a folder or a glob of data that is to be read.")]) -> None:
    """Say what data is, how its first rows would be read, and by which block of params.yaml."""
    from workbench.commands import sniff as sniffing

    for line in sniffing.lines(Path.cwd(), path):
        typer.echo(line)


@app.command()
def new_recipe(
    name: str,
    stages: Annotated[
        str, typer.Option(help="SECTION[:KEY][=PLUGIN],… in their order, such as curate=files,dedup,tokenize:a,tokenize:b.")
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="SECTION.KEY=VALUE of a configuration; relative paths begin in the recipe's folder. Repeatable."
        ),
    ] = None,
    into: Annotated[Path, typer.Option(help="Folder to write NAME into.")] = Path("recipes"),
) -> None:
    """Write a pipeline of other stages, each connected to the newest output before it of the format that it reads.

    A stage that names no PLUGIN is configured as the entry of params.yaml with that key, if there is one; else every key has its
    default. Lists of further plugins are set in the same way: --set 'align.grpo.rewards=[exact-answer]'.
    """
    from workbench.catalog.configuration import parse_settings
    from workbench.commands import recipe

    new = recipe.draft(Path.cwd(), name, [word.strip() for word in stages.split(",")], parse_settings(set_ or []))
    folder = recipe.write(new, into)
    typer.echo(f"wrote {folder}; next:\n\n  cd {folder}\n  dvc repro")


@app.command()
def chat(
    model: Annotated[str, typer.Argument(help="A name below data/models, or a directory; by default the last of `models`.")] = "",
    compare: Annotated[str, typer.Option(metavar="MODEL", help="Another model, which answers beside it.")] = "",
    system: Annotated[str, typer.Option(help="A system turn before the conversation.")] = "",
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 100,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token.")] = 0.7,
    top_p: Annotated[float, typer.Option(min=0.01, max=1.0, help="Draw from the likeliest tokens with this probability.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="The same conversation with the same seed gets the same answers.")] = 0,
) -> None:
    """Talk to a model in the terminal; lines from a pipe are turns as well."""
    from workbench.commands import chat as chats

    root = Path.cwd()
    directories = [chats.find(root, name) for name in ([model, compare] if compare else [model])]
    partners = chats.meet(root, directories, system)
    sampling = chats.Sampling(max_tokens, temperature, top_p, seed)
    chats.converse(partners, sys.stdin, sampling, prompt="> " if sys.stdin.isatty() else "")


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on the loopback interface.")] = 5000,
) -> None:
    """Open the tracker's UI on this project's store, bound to loopback."""
    from workbench.commands import ui as server
    from workbench.lib.layout import main_root

    server.serve(main_root(_enter_project()), port)


@app.command()
def sync(
    again: Annotated[bool, typer.Option("--again", help="Send everything again: the store was lost or replaced.")] = False,
) -> None:
    """Deliver journal entries that the trackers lack; safe to repeat."""
    from workbench.errors import WorkbenchError
    from workbench.lib.layout import main_root
    from workbench.tracking import watcher

    root = main_root(_enter_project())
    brought = watcher.replay(root) if again else watcher.sync(root)
    typer.echo(f"brought {brought} sessions to the trackers")
    for session in watcher.incomplete(root):
        typer.echo("\n".join(watcher.warnings(root, session)), err=True)
    if left := watcher.waiting(root):
        raise WorkbenchError(
            f"{len(left)} sessions are not in the trackers yet; their journals are whole",
            f".workbench/journal/{left[0]}/watcher.log",
            "check that the tracker's store can be reached, then run `workbench sync` again",
        )


@app.command()
def verify(
    as_json: AsJson = False,
    keep: Annotated[bool, typer.Option("--keep", help="Name what is damaged, and leave it where it is.")] = False,
) -> None:
    """Hash every output, cached object and input anew; move what is damaged to .workbench/quarantine.

    A `dvc repro` afterwards restores it from the cache or makes it again. Exit code 1 says that something was damaged.
    """
    from workbench.verification import verify as verification

    verdict = verification.verify(_enter_project(), quarantine=not keep)
    typer.echo(json.dumps(verdict.record(), indent=1) if as_json else "\n".join(verification.lines(verdict)))
    if verdict.damaged:
        raise typer.Exit(1)


@app.command()
def reproduce(
    run: Annotated[str, typer.Argument(help="Id of a stage's run or of a session's, or its first characters.")],
    pipeline: Annotated[bool, typer.Option("--pipeline", help="Repeat every stage of the run's pipeline, in order.")] = False,
    fresh_env: Annotated[bool, typer.Option("--fresh-env", help="Make the recorded environment anew, and run in it.")] = False,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="On another machine: relative difference of a metric that still counts as equal.")
    ] = 0.02,
) -> None:
    """Run a recorded stage or pipeline again and say whether it gives the same bytes.

    Exit code 0: BIT-EXACT or WITHIN-TOLERANCE; 1: DIVERGED; 2: INPUTS-CHANGED; 3: CANNOT-RUN.
    """
    from workbench.lib.layout import main_root
    from workbench.reproduction import reproduce as reproductions
    from workbench.reproduction import verdict

    options = reproductions.Options(pipeline, fresh_env, tolerance)
    outcomes = reproductions.reproduce(main_root(_enter_project()), run, options)
    raise typer.Exit(verdict.worst(outcomes))


@app.command()
def compare(
    before: Annotated[str, typer.Argument(help="A run's id, a git revision, a DVC experiment, or `workspace`.")] = "HEAD",
    after: Annotated[str, typer.Argument(help="The same.")] = "workspace",
    as_json: AsJson = False,
    page: Annotated[Path | None, typer.Option("--html", help="Write it as an HTML page, too.")] = None,
) -> None:
    """Say what differs between two results, and whether one is better: with the paired 95 % interval over the same examples."""
    from workbench.comparison import compare as comparisons
    from workbench.comparison import page as pages
    from workbench.lib.layout import main_root

    page = page and page.resolve()
    gc.disable()  # it produces little garbage and ends soon
    found = comparisons.compare(main_root(_enter_project()), before, after)
    typer.echo(json.dumps(pages.record(found), indent=1) if as_json else "\n".join(pages.lines(found)))
    if page:
        page.write_text(pages.as_html(found), encoding="utf-8")
        typer.echo(f"wrote {page}", err=True)


@app.command()
def promote(
    version: Annotated[
        str, typer.Argument(help="Of the registered model; the one with alias `candidate` if none is named.")
    ] = "",
    on: Annotated[str, typer.Option(help="The evaluation that decides, by its name in params.yaml.")] = "",
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the champion before.")] = False,
) -> None:
    """Make a model the champion, if an evaluation shows with 95 % confidence that it is better and none that it is worse."""
    from workbench.commands import promotion
    from workbench.lib.layout import main_root

    root = main_root(_enter_project())
    if rollback:
        typer.echo(promotion.roll_back(root))
        return
    found = promotion.contest(root, version, on)
    typer.echo("\n".join(promotion.lines(found)))
    typer.echo(promotion.promote(root, found))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look at git, DVC, locks, store, disks, packages and machine; say what is wrong and how to fix it.

    Exit code 1 means that something fails; a warning is not a failure.
    """
    from workbench.commands.doctor import checkup
    from workbench.lib.layout import find_project

    os.chdir(find_project(Path.cwd()) or Path.cwd())
    checks = checkup.examine(Path.cwd())
    typer.echo(json.dumps(checkup.records(checks), indent=1) if as_json else "\n".join(checkup.lines(checks)))
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(1)


@app.command()
def claim(write: Annotated[bool, typer.Option("--write", help="Record this machine as the maker of dvc.lock.")] = False) -> None:
    """Compare dvc.lock with the committed one, stage by stage."""
    from workbench.commands import claim as claims

    root = _enter_project()
    if write:
        claims.write(root)
        typer.echo(f"wrote {claims.CLAIM_FILE}")
        return
    for line in claims.lines(root):
        typer.echo(line)


def main() -> None:
    """Run the command line; errors that the user can fix are printed without a traceback."""
    from workbench.errors import ComputeError, WorkbenchError
    from workbench.lib import garbage

    garbage.collect_all_less_often()
    try:
        try:
            app()
        except OSError as error:
            if error.errno not in _NOT_WRITABLE:
                raise
            fix = "make it writable or free room there, or work in a copy of the project"
            raise ComputeError(f"it cannot be written: {error.strerror}", str(error.filename or Path.cwd()), fix) from error
    except WorkbenchError as error:
        typer.echo("\n".join([f"error: {error}", *getattr(error, "__notes__", ())]), err=True)
        sys.exit(1)
