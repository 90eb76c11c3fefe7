"""The inventory: what is documented, and what no case shows yet."""

from __future__ import annotations

import pytest

from conformance.errors import SpecErrors
from conformance.spec import inventory, load

from .conftest import REAL, Folder

# Chapters of which every row is shown. One that is being written joins when it is done.
COMPLETE = {
    "accumulation", "anomaly", "autograd_grad", "backward", "broadcasting", "checkpoint", "complex",
    "control_flow", "custom_function", "detach", "dtype", "forward_ad", "func_transforms", "functional", "grad_fn",
    "grad_modes", "gradcheck", "higher_order", "hooks", "inplace", "layout", "leaves", "nn", "node_hooks",
    "nondifferentiable", "ops", "optim", "retain_graph", "saved_tensors", "threads", "training", "views", "vmap",
    "worked_examples",
}  # fmt: skip


@pytest.fixture
def small(folder: Folder) -> Folder:
    """Five rows, of which cases show three: by name, by a family's name, by `covers`."""
    folder.write('a: "One"\nb: "Two"\nc: "Three"\n', "inventory/chapter.yaml")
    folder.write('a: "Four"\nd: "Five"\n', "inventory/other.yaml")
    return folder.behaviour("id: a\nwith: {n: [1, 2]}\ncovers: [b, other/d]\nprogram: |\n  assert n > 0")


def test_rows_have_their_source(small: Folder) -> None:
    """Every row knows its chapter, id and the document that promises it."""
    assert [(row.name, row.source) for row in inventory.rows(small.root)] == [
        ("chapter/a", "One"), ("chapter/b", "Two"), ("chapter/c", "Three"), ("other/a", "Four"), ("other/d", "Five"),
    ]  # fmt: skip


def test_rows_without_a_case(small: Folder) -> None:
    """A case shows the row of its own name, points of `with` included, and those that it covers."""
    assert [row.name for row in inventory.without_case(small.load())] == ["chapter/c", "other/a"]
    assert inventory.coverage(small.load()) == {
        "chapter": inventory.Coverage(3, 2, ["c"]), "other": inventory.Coverage(2, 1, ["a"]),
    }  # fmt: skip


def test_rows_that_need_a_gpu(small: Folder) -> None:
    """Rows that only cases for CUDA show are counted apart."""
    small.behaviour("id: a\ncovers: [b]\ndevice: cuda")
    assert inventory.coverage(small.load())["chapter"] == inventory.Coverage(3, 2, ["c"], ["a", "b"])


def test_unknown_covers(folder: Folder) -> None:
    """`covers` that names no row is reported at its case, with a near row."""
    folder.write('first: "One"\n', "inventory/chapter.yaml")
    folder.behaviour("id: first\ncovers: [frist]")
    (mistake,) = inventory.unknown_covers(folder.load())
    assert str(mistake) == (
        "chapter.yaml:4: covers chapter/frist, which is no row of the inventory (did you mean chapter/first?)"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: x\na: y\n", "2:1: the key 'a' is here twice"),
        ("- a\n", "1:1: an inventory is a mapping"),
        ("a: 3\n", "1:4:"),
    ],
)
def test_a_broken_inventory_is_named(small: Folder, text: str, message: str) -> None:
    """A mistake in an inventory file has its place."""
    small.write(text, "inventory/chapter.yaml")
    with pytest.raises(SpecErrors, match=message):
        inventory.rows(small.root)


def test_the_specification_covers_known_rows_only(folder: Folder) -> None:
    """Every `covers` of the specification names a documented behaviour, and ids of rows are unique."""
    specification = load(root=REAL)
    assert inventory.unknown_covers(specification) == ()
    assert len(inventory.rows(REAL)) == 1751


def test_complete_chapters_show_every_row() -> None:
    """No documented behaviour of a finished chapter is without a case."""
    specification = load(root=REAL)
    assert set(inventory.coverage(specification)) >= COMPLETE
    missing = [row.name for row in inventory.without_case(specification)]
    assert [name for name in missing if name.partition("/")[0] in COMPLETE] == []


def test_an_inventory_changes_no_digest(small: Folder) -> None:
    """The inventory gives no case its meaning, so result files stay comparable when it grows."""
    before = small.load().digest
    small.write('new: "Six"\n', "inventory/other.yaml")
    assert small.load().digest == before
