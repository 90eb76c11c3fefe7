"""Profiles: fixed sets of cases, and every mistake in their file has a place."""

import pytest

from conformance import spec
from conformance.errors import SpecErrors, UsageError
from conformance.running.profiles import select
from tests.running.small import ROOT, specification


@pytest.fixture
def whole(tmp_path):
    return spec.load(root=specification(tmp_path / "spec", ("exp", "sin")))


def chosen(whole, text, name="few"):
    (whole.root / "profiles.yaml").write_text(text)
    return [case.id for case in select(whole, name).cases]


def test_a_profile_is_its_cases_without_its_exceptions(whole):
    """Names, chapters and globs, in the specification's order."""
    text = "profiles:\n- name: few\n  title: Few\n  cases: [small/sin, small/s*]\n  except: [small/square]\n"
    assert chosen(whole, text) == ["sum", "scalar-needed", "sin"]


def test_an_unknown_profile_is_named_with_those_there_are(whole):
    """With the nearest name where there is one."""
    text = "profiles:\n- name: few\n  cases: [small]\n"
    with pytest.raises(UsageError, match=r"no profile fw \(did you mean few\?\)"):
        chosen(whole, text, "fw")
    with pytest.raises(UsageError, match=r"there are few"):
        chosen(whole, text, "everything")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("profiles:\n- name: few\n  cases: [smal]\n", "profiles.yaml:3:11: no case matches 'smal'"),
        ("profiles:\n- name: few\n  cases: [small]\n  except: [x]\n", "profiles.yaml:4:12: no case matches 'x'"),
        ("profiles:\n- name: few\n", "profiles.yaml:2:3: a profile names cases"),
        ("profiles:\n- name: few\n  cases: small\n", "profiles.yaml:3:10: cases is a list of patterns"),
        ("profiles:\n- cases: [small]\n", "profiles.yaml:2:3: a profile is a mapping with a name"),
        ("profiles:\n- name: few\n  cases: [small]\n  x: y\n", "a profile has no field x"),
        ("- few\n", "profiles.yaml:1:1: a profiles file is a mapping"),
        ("{", "not valid YAML"),
    ],
)
def test_mistakes_have_a_place(whole, text, said):
    """File, line and column of what is wrong."""
    with pytest.raises(SpecErrors) as e:
        chosen(whole, text)
    assert said in str(e.value)


def test_every_profile_of_the_specification_names_cases_that_exist():
    """The kit's own profiles hold; drop-in is everything."""
    whole = spec.load(root=ROOT / "spec")
    for name in ("gradients", "tape", "transforms", "drop-in"):
        assert select(whole, name).cases
    assert select(whole, "drop-in").cases == whole.cases
