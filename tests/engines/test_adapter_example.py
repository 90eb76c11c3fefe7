"""The engine of docs/writing-an-adapter.md works as written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conformance import spec
from conformance.engines import load
from conformance.language import execute

DOCUMENT = Path(__file__).parents[2] / "docs" / "writing-an-adapter.md"


@pytest.fixture
def engine(tmp_path, monkeypatch):
    (text,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    (tmp_path / "my_engine.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return load("my_engine:engine")


def run(engine, name):
    return execute(spec.load().by_name[name], engine)


def test_what_it_does_is_judged(engine):
    """A case of scalars, products and sums runs on it, and every assertion about values holds."""
    end = run(engine, "accumulation/several-uses-add")
    assert end.missing or all(o.agrees for o in end.observations)
    from tests.language.programs import case

    end = execute(case("""
        x = torch.tensor(3.0, requires_grad=True)
        y = x * x + 2.0 * x
        y.backward()
        assert x.grad == 8.0
        y.backward()
        assert x.grad == 16.0
    """), engine)  # fmt: skip
    assert [o.agrees for o in end.observations] == [True, True]


def test_what_it_does_not_spell_is_unsupported(engine):
    """Nothing that it lacks is counted as failed."""
    for name in ("grad_fn/name-of-op", "higher_order/grad-third-derivative", "leaves/retains-grad-flag"):
        assert run(engine, name).missing
