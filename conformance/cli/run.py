"""`autograd-conformance run`: the specification on engines, with a verdict for every case."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console

from conformance import spec
from conformance.cli import INTERRUPTED, printing
from conformance.cli.choose import Chosen, choose
from conformance.cli.output import render_to, writable
from conformance.errors import ResultsError, RunError, UsageError
from conformance.records import Result, SpecInfo
from conformance.results import Results, Writer, read
from conformance.running import profiles, waivers
from conformance.running.judge import BUILT_IN, conforms
from conformance.running.plan import Plan, plan
from conformance.running.session import Options, Session

FILE = click.Path(dir_okay=False, path_type=Path)
Stopped = KeyboardInterrupt | RunError
SECONDS = click.FloatRange(min=0, min_open=True)


@click.command()
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@click.option(
    "--engine", "engines", multiple=True, metavar="NAME", help="torch, reference or package.module:factory; repeatable."
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--profile", metavar="NAME", help="Run a whole profile, and print the percentage that passes.")
@click.option(
    "--results",
    type=FILE,
    metavar="FILE",
    help="Append every result to this file as it comes (JSON lines; packed if *.gz).",
)
@click.option("--resume", is_flag=True, help="Continue the interrupted run in the --results file.")
@click.option("--overwrite", is_flag=True, help="Replace an unfinished run in the --results file.")
@click.option("--html", type=FILE, metavar="FILE", help="Write the HTML report.")
@click.option("--junit", type=FILE, metavar="FILE", help="Write JUnit XML.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=None, help="Workers at a time; default: one per CPU.")
@click.option("--isolate", is_flag=True, help="A process of its own for every case.")
@click.option("--timeout", type=SECONDS, default=60.0, show_default=True, help="Seconds that a case may take.")
@click.option("--import-timeout", type=SECONDS, default=300.0, show_default=True, help="Seconds to import an engine.")
@click.option("--shuffle", type=int, metavar="SEED", help="Run the cases in another order.")
@click.option("--waivers", "waivers_file", type=FILE, metavar="FILE", help="Failures that somebody answers for (YAML).")
def run(**options: Any) -> int:
    """Runs the cases that PATTERNs name (chapters, cases, globs; default all) and judges every engine.

    Without --engine the reference and torch are run. Each case runs in a worker process: a crash or a hang costs that
    case only.
    """
    out = printing.console()
    chosen = choose(options["engines"], options["device"])
    if chosen.note:
        printing.say(out, chosen.note, "yellow")
    info, what = _plan(options, chosen)
    for option in ("results", "html", "junit"):
        writable(options[option])
    before = _before(options)
    if before is not None and before.summary is not None:
        printing.say(out, f"{before.path} is finished: nothing to resume")
        return _end(out, before, what, options)
    settings = Options(options["jobs"] or cpus(), options["timeout"], options["import_timeout"], options["isolate"])
    granted = waivers.load(options["waivers_file"]) if options["waivers_file"] else waivers.Waivers()
    with _terminable(), Session(info, what, chosen.keys, chosen.oracles, settings, granted) as session:
        header = session.start()
        printing.opening(out, header, len(what.needed))
        results = Results(options["results"] or Path("-"), header)
        if before is not None:
            session.resume(before, header)
            results = before
        stopped = _collect(out, session, results, options)
    for waiver in granted.unused:
        printing.say(
            out, f"note: the waiver of {waiver.owner} for {waiver.case} on {waiver.engine} covers nothing here"
        )
    return _end(out, results, what, options) if stopped is None else _stopped(out, results, options, stopped)


def cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _plan(options: dict[str, Any], chosen: Chosen) -> tuple[SpecInfo, Plan]:
    whole = spec.load()
    patterns, profile = options["patterns"], options["profile"]
    if profile and patterns:
        raise UsageError("a profile is run as a whole: give either --profile or patterns")
    asked = profiles.select(whole, profile) if profile else whole.select(patterns)
    info = SpecInfo(whole.version, whole.digest, len(whole.cases))
    what = plan(asked.cases, whole.by_name, chosen.keys, torch=chosen.torch, patterns=patterns, profile=profile)
    return info, what if options["shuffle"] is None else what.shuffled(options["shuffle"])


def _before(options: dict[str, Any]) -> Results | None:
    """The run to continue. Refuses to replace what is not a finished run: no result is lost by a slip."""
    path: Path | None = options["results"]
    if options["resume"] and (path is None or options["overwrite"]):
        raise UsageError("--resume needs --results FILE, and cannot go with --overwrite")
    if path is None or not path.exists() or path.stat().st_size == 0:
        return None
    if options["resume"]:
        return read(path, repair=True)
    try:
        old = read(path, repair=True)
    except ResultsError as e:
        raise ResultsError(f"{path} is not replaced, since it is no result file: {e}") from None
    if old.summary is None and not options["overwrite"]:
        what = f"{path} holds an unfinished run with {len(old.results)} results"
        raise ResultsError(what, hint="--resume continues it, --overwrite replaces it")
    return None


def _collect(out: Console, session: Session, results: Results, options: dict[str, Any]) -> Stopped | None:
    """Takes the records in, file first. Returns what stopped the run, None where it came to its end."""
    path: Path | None = options["results"]
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(Writer(path, resume=options["resume"])) if path else None
        try:
            if writer and writer.empty:
                writer.append(results.run)
            bar = stack.enter_context(printing.progress(out))
            task = bar.add_task("running", total=results.due, completed=len(results.results))
            for record in session.records():
                if writer:
                    writer.append(record)
                results.add(record)
                bar.update(task, completed=len(results.results))
        except (KeyboardInterrupt, RunError) as stopped:
            return stopped
    return None


def _stopped(out: Console, results: Results, options: dict[str, Any], why: Stopped) -> int:
    """The run did not come to its end: shows what there is, and says how to go on."""
    printing.closing(out, results)
    if options["results"]:
        printing.say(out, f"the results so far are in {options['results']}; --resume continues")
    if isinstance(why, KeyboardInterrupt):
        printing.say(out, "interrupted", "bold red")
        return INTERRUPTED
    raise why


def _end(out: Console, results: Results, what: Plan, options: dict[str, Any]) -> int:
    printing.closing(out, results)
    for format_ in ("html", "junit"):
        if options[format_]:
            render_to(options[format_], format_, results.records)
    if options["profile"]:
        _percentages(out, results, what)
    return verdict(out, results)


def _percentages(out: Console, results: Results, what: Plan) -> None:
    """The share of a whole profile that passes: what was left out, or is unsupported, counts as not passing.

    Cases that are not in the profile, and ran because others need them, do not count.
    """
    whole = len(what.cases) - len(what.needed) + sum(len(left.cases) for left in what.left_out if left.engine is None)
    for engine in results.run.engines:
        found = [r for r in results.results.values() if r.engine == engine.name and r.case not in what.needed]
        passed = sum(r.verdict == "pass" for r in found)
        share = 100 * passed / whole if whole else 0.0
        printing.say(out, f"{what.profile}: {engine.name} passes {passed} of {whole}, {share:.1f} %", "bold")


def verdict(out: Console, results: Results) -> int:
    """0 where everything conforms, else 1: something fails, a built-in engine lacks a name, or all is unsupported."""
    code = 0
    by_engine: dict[str, list[Result]] = {engine.name: [] for engine in results.run.engines}
    for result in results.results.values():
        by_engine[result.engine].append(result)
    for engine, found in by_engine.items():
        if not all(map(conforms, found)):
            code = 1
        if found and all(r.verdict == "unsupported" for r in found):
            printing.say(out, f"{engine} supports none of these cases: is it the right object?", "red")
            code = 1
        elif engine in BUILT_IN and any(r.verdict == "unsupported" for r in found):
            printing.say(out, f"{engine} has to spell every name, unless the case is pending or says since", "red")
    return code


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends a run as an interrupt does: results so far stay, no worker is left behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        previous = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
