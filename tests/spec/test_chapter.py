"""From a chapter to its cases: fields, lints, drawn data, parameters, what cases need."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.errors import SpecError, SpecErrors
from conformance.spec.expand import points, suffix

from .conftest import Folder


def test_every_field_arrives(folder: Folder) -> None:
    """Each field of the file is a field of the case."""
    folder.behaviour("""
        id: a
        claim: >-
          It holds,
          always.
        source: torch.Tensor
        program: |
          assert torch.ones(1) is not None
        covers: [b, other/c]
        since: "2.1"
        until: "2.9"
        device: cuda
        tolerance: {reason: A sum., rtol: 1e-3}
        kink: true
        torch_departs: It does not.
        pending: Not yet.
        note: See there.
    """)
    (case,) = folder.load().cases
    assert (case.name, case.claim, case.source) == ("chapter/a", "It holds, always.", "torch.Tensor")
    assert (case.file, case.line, case.program_line) == ("chapter.yaml", 4, 10)
    assert case.program == "assert torch.ones(1) is not None\n"
    assert case.covers == ("chapter/b", "other/c")
    assert (case.since, case.until, case.device, case.kink) == ("2.1", "2.9", "cuda", True)
    assert case.tolerance is not None
    assert (case.tolerance.reason, case.tolerance.rtol, case.tolerance.atol) == ("A sum.", 1e-3, None)
    assert (case.torch_departs, case.pending, case.note) == ("It does not.", "Not yet.", "See there.")
    assert case.requires == ("ones",)
    assert [(site.line, site.kind) for site in case.sites] == [(1, "is not")]
    assert case.code


def test_program_lines_are_lines_of_the_file(folder: Folder) -> None:
    """A program's line n is line program_line + n - 1 of its file."""
    folder.behaviour("id: a\nprogram: |\n  x = 1\n\n  assert x == 1")
    (case,) = folder.load().cases
    lines = (folder.root / case.file).read_text().split("\n")
    for number, line in enumerate(case.program.split("\n")[:-1]):
        assert lines[case.program_line - 1 + number].strip() == line.strip()


CHAPTER = "chapter: {}\ntitle: T\nbehaviours:\n"
BEHAVIOUR = "- id: {}\n  claim: It holds.\n  source: s\n{}  program: |\n    assert True\n"


def test_a_duplicate_id_is_refused(folder: Folder) -> None:
    """An id is unique in its chapter."""
    folder.write(CHAPTER.format("chapter") + BEHAVIOUR.format("a", "") * 2)
    assert folder.mistakes() == ["chapter.yaml:9:7: the id 'a' is here twice (first at 4:7)"]


def test_the_chapter_is_named_as_its_file(folder: Folder) -> None:
    """A chapter can be found by its name."""
    folder.write(CHAPTER.format("other") + BEHAVIOUR.format("a", ""))
    assert folder.mistakes() == ["chapter.yaml:1:10: the chapter 'other' is in a file named 'chapter'"]


def test_needs_are_resolved(folder: Folder) -> None:
    """A bare id means the same chapter, a full name any chapter."""
    folder.write(
        CHAPTER.format("one") + BEHAVIOUR.format("a", "") + BEHAVIOUR.format("b", "  needs: [a]\n"), "one.yaml"
    )
    folder.write(CHAPTER.format("two") + BEHAVIOUR.format("c", "  needs: [one/b]\n"), "two.yaml")
    by_name = folder.load().by_name
    assert by_name["one/b"].needs == ("one/a",)
    assert by_name["two/c"].needs == ("one/b",)


def test_unknown_needs_are_refused(folder: Folder) -> None:
    """`needs` names cases that exist; a near one is proposed."""
    folder.write(
        CHAPTER.format("chapter") + BEHAVIOUR.format("first", "") + BEHAVIOUR.format("b", "  needs: [frist]\n")
    )
    assert folder.mistakes() == [
        "chapter.yaml:9: needs chapter/frist, which is no case (did you mean chapter/first?)"
    ]  # fmt: skip


def test_circles_are_refused(folder: Folder) -> None:
    """`needs` has no circles, across chapters too."""
    folder.write(CHAPTER.format("one") + BEHAVIOUR.format("a", "  needs: [two/b]\n"), "one.yaml")
    folder.write(CHAPTER.format("two") + BEHAVIOUR.format("b", "  needs: [one/a]\n"), "two.yaml")
    assert folder.mistakes() == ["one.yaml:4: needs goes in a circle: one/a <- two/b <- one/a"]


def test_a_case_may_not_need_itself(folder: Folder) -> None:
    """The smallest circle."""
    folder.write(CHAPTER.format("chapter") + BEHAVIOUR.format("a", "  needs: [a]\n"))
    assert folder.mistakes() == ["chapter.yaml:4: needs goes in a circle: chapter/a <- chapter/a"]


def test_needs_of_points(folder: Folder) -> None:
    """A name that stands for several points means the same point where there is one, else all of them."""
    point = "  with: {n: [1, 2]}\n"
    program = "  program: |\n    assert n > 0\n"
    text = CHAPTER.format("chapter")
    text += f"- id: a\n  claim: A.\n  source: s\n{point}{program}"
    text += f"- id: b\n  claim: B.\n  source: s\n{point}  needs: [a]\n{program}"
    text += BEHAVIOUR.format("c", "  needs: [a]\n")
    by_name = folder.write(text).load().by_name
    assert by_name["chapter/b[2]"].needs == ("chapter/a[2]",)
    assert by_name["chapter/c"].needs == ("chapter/a[1]", "chapter/a[2]")


def test_parameters_expand(folder: Folder) -> None:
    """`with` gives a case per point, with a readable name, and `$name` fills drawn data."""
    folder.behaviour("""
        id: a
        with:
          dtype: [torch.float32, torch.float64]
          shape: [[2], [2, 3], []]
        given:
          x: {distribution: normal, shape: $shape, seed: 3, dtype: $dtype, requires_grad: true}
        program: |
          assert x.dtype is dtype and x.shape == tuple(shape)
    """)
    cases = folder.load().cases
    assert [case.id for case in cases] == [
        "a[float32,2]", "a[float32,2x3]", "a[float32,()]", "a[float64,2]", "a[float64,2x3]", "a[float64,()]",
    ]  # fmt: skip
    assert cases[1].parameters == {"dtype": "torch.float32", "shape": [2, 3]}
    assert (cases[4].given[0].shape, cases[4].given[0].dtype, cases[4].given[0].requires_grad) == (
        (2, 3),
        "float64",
        True,
    )
    assert cases[0].requires == ("float32",)


@given(st.dictionaries(st.text("abc", min_size=1), st.lists(st.integers(), min_size=1, unique=True), max_size=4))
def test_expansion_counts(parameters: dict[str, list[int]]) -> None:
    """There are as many points as the product of the counts, all different, all names different."""
    found = points(parameters)
    assert len(found) == math.prod(len(values) for values in parameters.values())
    assert len({suffix(point) for point in found}) == len(found)
    assert all(point[name] in values for point in found for name, values in parameters.items())


LINTS = [
    ("given: {x: {distribution: normal, shape: [2], seed: 0}}\nprogram: |\n  assert True", [
        "4:11: 'x' is never used"]),
    ("with: {n: [1]}\nprogram: |\n  assert True", ["4:10: 'n' is never used"]),
    ("with: {torch: [1]}\nprogram: |\n  assert torch", [
        "4:10: 'torch' keeps its meaning and cannot be bound (choose another name)",
        "6:12: the module torch is used as a value (give it a name once, at the top)"]),
    ("with: {n: [torch.os]}\nprogram: |\n  assert n", ["4:14: torch.os is not in the vocabulary"]),
    ("with: {n: [[1, 9223372036854775808]]}\nprogram: |\n  assert n", ["4:14: an integer of more than 64 bits"]),
    ("with: {n: ['1', 1]}\nprogram: |\n  assert n", ["7:7: two points of `with` are both named a[1]"]),
    ("given: {x: {distribution: normal, shape: [2], seed: 0, low: 1}}\nprogram: |\n  assert x is x", [
        "4:63: normal takes mean and std, not low"]),
    ("given: {x: {distribution: uniform, shape: [2], seed: 0, low: 1}}\nprogram: |\n  assert x is x", [
        "4:29: x: low 1 is not below high 1.0"]),
    ("given: {x: {distribution: integers, shape: [2], seed: 0, high: 1.5}}\nprogram: |\n  assert x is x", [
        "4:29: x: integers are drawn between whole numbers"]),
    ("given: {x: {distribution: normal, shape: [2], seed: 0, dtype: int64}}\nprogram: |\n  assert x is x", [
        "4:65: normal data in int64 would be cut to whole numbers; draw integers"]),
    ("given: {x: {distribution: normal, shape: $n, seed: 0}}\nprogram: |\n  assert x is x", [
        "4:44: $n is no parameter of `with`"]),
    ("with: {n: [3]}\ngiven: {x: {distribution: normal, shape: $n, seed: 0}}\nprogram: |\n  assert x is x", [
        "5:44: $n does not always hold a shape"]),
    ("with: {x: [3]}\ngiven: {x: {distribution: normal, shape: [1], seed: 0}}\nprogram: |\n  assert x is x", [
        "4:10: 'x' is drawn data and a parameter as well"]),
    ("program: assert True", ["4:12: a program is a literal block (program: |) (so that its lines count)"]),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "messages"), LINTS)
def test_lints(folder: Folder, keys: str, messages: list[str]) -> None:
    """What the schema cannot say is checked as well, with its place."""
    assert folder.behaviour(keys).mistakes() == [f"chapter.yaml:{message}" for message in messages]


# --- laws ---


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(st.text(st.sampled_from("abc:-#&*!|>'\"{}[],\n \t%@`\\\x00é"), max_size=60))
def test_no_text_gives_a_traceback(folder: Folder, text: str) -> None:
    """Whatever stands in a chapter file, the answer is a SpecError with the file's name."""
    (folder.root / "chapter.yaml").write_text(text, encoding="utf-8", newline="")
    with pytest.raises(SpecErrors) as caught:
        folder.load()
    assert all("chapter.yaml" in str(error) for error in caught.value.errors)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.text(st.sampled_from("xtorch.=()[]:+*'\n {}@,1_"), max_size=40))
def test_no_program_gives_a_traceback(folder: Folder, program: str) -> None:
    """Whatever stands in a program, it is a case or a list of placed mistakes."""
    body = "".join(f"    {line}\n" for line in program.split("\n"))
    folder.write(CHAPTER.format("chapter") + "- id: a\n  claim: A.\n  source: s\n  program: |2\n" + body)
    found: list[SpecError] = []
    try:
        folder.load()
    except SpecErrors as errors:
        found = errors.errors
    assert all(error.place is not None and error.place.line for error in found)


# --- warnings ---


@pytest.mark.parametrize(
    ("program", "warned"),
    [
        ("with raises(RuntimeError):\n      x.backward()", True),
        ("x.backward()\n  with raises(RuntimeError):\n      x.backward()", False),
        ("x.exp()\n  with raises(RuntimeError):\n      x.exp_()", False),
        ("with raises(RuntimeError):\n      x[0] = 1", False),
        ("with raises(RuntimeError):\n      x.exp()\n  with raises(RuntimeError):\n      x.exp()", True),
    ],
)
def test_an_error_without_its_legal_form_is_warned_of(folder: Folder, program: str, warned: bool) -> None:
    """A call that is expected to fail and never seen to work is worth a look, at its place."""
    specification = folder.behaviour(f"id: a\nprogram: |\n  x = torch.ones(1)\n  {program}").load()
    assert bool(specification.warnings) == warned
    if warned:
        assert str(specification.warnings[0]).startswith("chapter.yaml:7:5: nothing here shows")


def test_a_claim_says_what_is(folder: Folder) -> None:
    """A modal verb in a claim is worth a look; the warning survives the cache."""
    folder.behaviour("id: a\nclaim: It should hold.")
    for _ in range(2):
        (warning,) = folder.load().warnings
        assert str(warning) == "chapter.yaml:5:10: the claim says 'should' (say what is)"
