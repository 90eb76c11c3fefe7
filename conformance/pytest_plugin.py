"""`pytest --autograd-engine NAME`: the specification's cases as tests of an engine.

Each case is an item `autograd-conformance::chapter/id[engine]`, run in the pytest process. Without the option the
plugin does nothing, and imports nothing of the kit.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conformance.case import Case
    from conformance.records import Result
    from conformance.running.process import Key

NAME = "autograd-conformance"
COVERED, UNNEEDED = "autograd-waiver", "autograd-waiver-unneeded"  # what reports say of waivers


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup(NAME, "conformance of an autograd engine")
    group.addoption(
        "--autograd-engine",
        action="append",
        default=[],
        metavar="NAME",
        help="test this engine: torch, reference or package.module:factory; repeatable",
    )
    group.addoption(
        "--autograd-cases",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only these cases: a chapter, a case or a glob; repeatable",
    )
    group.addoption("--autograd-waivers", metavar="FILE", help="failures that somebody answers for (YAML)")
    group.addoption("--autograd-device", default="cpu", choices=["cpu", "cuda"], help="where the engines run")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("autograd_engine"):
        config.pluginmanager.register(ConformancePlugin(config), f"{NAME}-cases")
        return
    for option in ("cases", "waivers"):
        if config.getoption(f"autograd_{option}"):
            raise pytest.UsageError(f"--autograd-{option} needs --autograd-engine")


class ConformancePlugin:
    """Loads the specification and the engines once, and adds the cases to what pytest collects."""

    def __init__(self, config: pytest.Config) -> None:
        from conformance import spec
        from conformance.cli.choose import choose
        from conformance.errors import KitError
        from conformance.running import waivers
        from conformance.running.inprocess import InProcess
        from conformance.running.plan import plan

        file = config.getoption("autograd_waivers")
        try:
            self.waivers = waivers.load(file) if file else waivers.Waivers()
            self.chosen = choose(config.getoption("autograd_engine"), config.getoption("autograd_device"))
            self.spec = spec.load()
            asked = self.spec.select(config.getoption("autograd_cases"))
            self.asked = asked.cases
            self.plan = plan(asked.cases, self.spec.by_name, self.chosen.keys, torch=self.chosen.torch)
            self.judging = InProcess({case.name: case for case in self.plan.cases}, self.chosen.oracles)
            for key in self.chosen.keys:
                self.judging.engine(key)
        except KitError as e:
            raise pytest.UsageError(str(e)) from None

    def pytest_report_header(self) -> str:
        names = ", ".join(f"{key.engine} {self.judging.engine(key).version} ({key.device})" for key in self.chosen.keys)
        return (
            f"{NAME}: specification {self.spec.version} on {names}, compared with {self.chosen.oracles[0].engine}; "
            f"in this process: a crash or a hang ends everything (`{NAME} run` isolates cases)"
        )

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        if isinstance(collector, pytest.Session) and report.passed:
            report.result.append(Cases.from_parent(collector, name=NAME, nodeid=NAME, plugin=self))
        return report

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Waivers that are no longer needed, or that covered nothing; from the reports, which come from other processes too."""
        reports = [r for reports in terminalreporter.stats.values() for r in reports if hasattr(r, "user_properties")]
        said = [(name, value) for r in reports for name, value in r.user_properties if name in (COVERED, UNNEEDED)]
        covering = {value for name, value in said if name == COVERED}
        for value in dict.fromkeys(value for name, value in said if name == UNNEEDED):
            terminalreporter.write_line(f"note: {value}")
        for number, waiver in enumerate(self.waivers.waivers):
            if number not in covering:
                terminalreporter.write_line(
                    f"note: the waiver of {waiver.owner} for {waiver.case} on {waiver.engine} covers nothing here"
                )

    def judge(self, item: CaseItem) -> Result:
        """The case's result, with what a waiver makes of it."""
        result = self.judging.judge(item.case, item.key)
        waiver = next((w for w in self.waivers.waivers if w.covers(result)), None)
        if waiver is not None:
            item.user_properties.append((COVERED, self.waivers.waivers.index(waiver)))
            result = self.waivers.apply(result)
            if result.verdict == "pass":
                item.user_properties.append((UNNEEDED, f"{result.case}[{result.engine}]: {result.reason}"))
        return result

    def left_out(self, case: Case, key: Key) -> str | None:
        """Why the case does not run on the engine here, None where it does."""
        for left in self.plan.left_out:
            if case.name in left.cases and left.engine in (None, key.engine):
                return left.reason
        return None


class Cases(pytest.Collector):
    """All cases on all engines."""

    def __init__(self, *, plugin: ConformancePlugin, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plugin = plugin

    def collect(self) -> Iterable[pytest.Item]:
        for case in self.plugin.asked:
            for key in self.plugin.chosen.keys:
                name = f"{case.name}[{key.engine}]"
                yield CaseItem.from_parent(self, name=name, plugin=self.plugin, case=case, key=key)


class CaseFailed(Exception):
    """A case whose verdict does not conform."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.verdict)
        self.result = result


class CaseItem(pytest.Item):
    """One case on one engine."""

    def __init__(self, *, plugin: ConformancePlugin, case: Case, key: Key, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plugin, self.case, self.key = plugin, case, key
        self.user_properties += [("claim", " ".join(case.claim.split())), ("source", case.source)]

    def runtest(self) -> None:
        from conformance.running.judge import conforms

        if (reason := self.plugin.left_out(self.case, self.key)) is not None:
            pytest.skip(reason)
        result = self.plugin.judge(self)
        if not conforms(result):
            raise CaseFailed(result)
        if result.verdict in ("pending", "departs", "waived"):
            pytest.xfail(f"{result.verdict}: {result.reason}")
        if result.verdict != "pass":
            pytest.skip(f"{result.verdict}: {result.reason or ', '.join(result.missing)}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if not isinstance(excinfo.value, CaseFailed):
            return super().repr_failure(excinfo, style)
        from conformance.cli.failure import explain, reproduce
        from conformance.running.shown import case_info

        result = excinfo.value.result
        return explain(result, case_info(self.case), reproduce(result))

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.plugin.spec.root / self.case.file, self.case.line - 1, self.name
