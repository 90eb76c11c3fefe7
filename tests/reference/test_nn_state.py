"""State of modules and optimizers beside torch's: hooks around saving and loading, extra state, what is shared."""

from __future__ import annotations

import copy

import pytest

import reference_engine as T

torch = pytest.importorskip("torch")
BOTH = (T, torch)


def plain(values):
    """Tensors of any engine as nested lists, so that two engines' values compare."""
    if isinstance(values, (list, tuple)):
        return [plain(v) for v in values]
    if isinstance(values, dict):
        return {k: plain(v) for k, v in values.items()}
    return values.tolist() if hasattr(values, "tolist") else values


def agree(program):
    """The program gives the same on both engines."""
    ours, theirs = (plain(program(e)) for e in BOTH)
    assert ours == theirs
    return ours


def test_hooks_around_saving_and_loading_a_module():
    """State hooks run around a child's state with the same arguments, in the same order."""

    def program(e):
        calls = []
        child = e.nn.Linear(1, 1)
        child.register_state_dict_pre_hook(lambda m, prefix, keep: calls.append(("saving", prefix, keep)))
        child.register_state_dict_post_hook(lambda m, d, prefix, meta: calls.append(("saved", prefix, list(d), meta)))
        child.register_load_state_dict_pre_hook(lambda m, d, prefix, *rest: calls.append(("loading", prefix, list(d))))
        child.register_load_state_dict_post_hook(lambda m, keys: calls.append(("loaded", list(keys))))
        parent = e.nn.Sequential(child)
        parent.load_state_dict(parent.state_dict())
        return calls

    assert [call[0] for call in agree(program)] == ["saving", "saved", "loading", "loaded"]


def test_extra_state_travels_with_the_state():
    """What get_extra_state gives is in the state_dict, and set_extra_state gets it; it is missed where it is not there."""

    def program(e):
        class Counting(e.nn.Module):
            seen = 0

            def get_extra_state(self):
                return {"seen": self.seen}

            def set_extra_state(self, state):
                self.seen = state["seen"]

        first, second = e.nn.Sequential(Counting()), e.nn.Sequential(Counting())
        first[0].seen = 5
        state = first.state_dict()
        second.load_state_dict(state)
        with pytest.raises(RuntimeError) as missing:
            second.load_state_dict({})
        return dict(state), second[0].seen, str(missing.value), list(second.load_state_dict({}, strict=False))

    assert agree(program)[1] == 5


def test_a_module_may_rename_keys_that_it_loads():
    """_load_from_state_dict of a subclass sees its prefix, and what it renames is loaded and not unexpected."""

    def program(e):
        class Renamed(e.nn.Module):
            _version = 2

            def __init__(self):
                super().__init__()
                self.w = e.nn.Parameter(e.zeros(1))

            def _load_from_state_dict(self, state, prefix, metadata, *rest):
                if prefix + "old" in state:
                    state[prefix + "w"] = state.pop(prefix + "old")
                super()._load_from_state_dict(state, prefix, metadata, *rest)

        m = e.nn.Sequential(Renamed())
        given = {"0.old": e.full((1,), 4.0)}
        m.load_state_dict(given)
        return m[0].w, list(given), m.state_dict()._metadata

    assert agree(program)[0] == [4.0]


def test_an_optimizer_shares_the_state_that_it_loads():
    """Tensors that fit are taken over themselves; others are cast to the parameter's dtype."""

    def program(e):
        p, q = e.nn.Parameter(e.ones(2)), e.nn.Parameter(e.ones(2, dtype=e.float64))
        first = e.optim.Adam([p])
        p.grad = e.ones(2)
        first.step()
        same, other = e.optim.Adam([e.nn.Parameter(e.ones(2))]), e.optim.Adam([q])
        same.load_state_dict(first.state_dict())
        other.load_state_dict(first.state_dict())
        shared = same.state_dict()["state"][0]["exp_avg"] is first.state[p]["exp_avg"]
        return shared, str(other.state[q]["exp_avg"].dtype)[-7:], str(other.state[q]["step"].dtype)[-7:]

    assert agree(program) == [True, "float64", "float32"]


def test_hooks_around_the_state_of_an_optimizer():
    """Hooks before and after state_dict and load_state_dict, with what they replace."""

    def program(e):
        calls = []
        optimizer = e.optim.SGD([e.nn.Parameter(e.ones(1))], lr=0.5)
        optimizer.register_state_dict_pre_hook(lambda o: calls.append("saving"))
        optimizer.register_state_dict_post_hook(lambda o, state: {**state, "more": 1})
        optimizer.register_load_state_dict_pre_hook(lambda o, state: calls.append(sorted(state)))
        optimizer.register_load_state_dict_post_hook(lambda o: calls.append("loaded"))
        first = optimizer.register_state_dict_pre_hook(lambda o: calls.append("first"), prepend=True)
        optimizer.load_state_dict(optimizer.state_dict())
        first.remove()
        optimizer.state_dict()
        return calls

    assert agree(program) == ["first", "saving", ["more", "param_groups", "state"], "loaded", "saving"]


def test_step_hooks_see_and_replace_the_arguments():
    """args begin with the optimizer, also those that a pre-hook gives back."""

    def program(e):
        p = e.nn.Parameter(e.ones(1))
        optimizer = e.optim.SGD([p], lr=0.5)
        seen = []
        handle = optimizer.register_step_pre_hook(lambda o, args, kwargs: ((args[0], lambda: p.sum() * 7), {}))
        optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append((args[0] is o, len(args), list(kwargs))))
        loss = optimizer.step()
        handle.remove()
        optimizer.step(closure=None)
        return loss.detach(), seen

    assert agree(program) == [7.0, [[True, 2, []], [True, 1, ["closure"]]]]


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_parameters_in_bfloat16_stay_in_bfloat16(name):
    """Steps and moments are rounded to the parameter's dtype."""
    p = T.nn.Parameter(T.tensor([1.0, 2.0], dtype=T.bfloat16))
    optimizer = getattr(T.optim, name)([p], lr=0.1, **({"momentum": 0.9} if name == "SGD" else {}))
    for _ in range(3):
        p.grad = T.tensor([0.1, 0.2], dtype=T.bfloat16)
        optimizer.step()
    for value in (p, *optimizer.state[p].values()):
        assert value.float().tolist() == value.float().to(T.bfloat16).float().tolist()
    filled = T.nn.init.constant_(T.nn.Parameter(T.zeros(1, dtype=T.bfloat16)), 0.1)
    assert filled.float().tolist() == T.tensor([0.1]).to(T.bfloat16).float().tolist()


def test_amsgrad_can_be_differentiated():
    """With amsgrad the recorded step of Adam runs backward: d(1 - lr sign g) is 1 but for eps."""

    def program(e):
        start = e.tensor([1.0, 2.0], dtype=e.float64, requires_grad=True)
        p = start.clone()
        optimizer = e.optim.Adam([p], lr=0.1, amsgrad=True, differentiable=True)
        (p.grad,) = e.autograd.grad((p.clone() ** 3).sum(), p, create_graph=True)
        optimizer.step()
        (slope,) = e.autograd.grad(p.sum(), start)
        return (slope - 1).abs().max().item() < 1e-6

    assert agree(program) is True


def test_submodules_are_set_by_dotted_names():
    """set_submodule replaces a module deep inside, and refuses names that are none."""

    def program(e):
        m = e.nn.Sequential(e.nn.Linear(1, 1), e.nn.Sequential(e.nn.ReLU()))
        m.set_submodule("1.0", e.nn.Tanh())
        messages = []
        for target, module in (("", e.nn.ReLU()), ("0.weight", e.nn.ReLU()), ("7.0", e.nn.ReLU())):
            with pytest.raises((ValueError, AttributeError)) as error:
                m.set_submodule(target, module)
            messages.append(str(error.value))
        return type(m[1][0]).__name__, messages

    assert agree(program)[0] == "Tanh"


def test_parameter_dicts_have_the_methods_of_dicts():
    """get, setdefault, pop, popitem, copy, fromkeys, |, |=, reversed and clear."""

    def program(e):
        d = e.nn.ParameterDict({"a": e.ones(1), "b": e.zeros(2)})
        shown = [d.get("c"), d.get("c", 3), d.setdefault("c", e.ones(3)), list(reversed(d)), repr(d)]
        both = d | e.nn.ParameterDict({"x": e.ones(1)})
        shown += [list(both), both["a"] is d["a"], d.pop("a"), list(d.popitem()), list(d.copy()), len(d)]
        d |= {"y": e.ones(1)}
        shown += [list(d), list(d.fromkeys(["p", "q"], e.ones(1)))]
        d.clear()
        return [*shown, len(d), len(list(d.parameters()))]

    agree(program)


def test_lists_of_modules_multiply_and_print_in_runs():
    """Sequential * n repeats the same modules; a ModuleList prints equal neighbours in one line."""

    def program(e):
        s = e.nn.Sequential(e.nn.ReLU(), e.nn.Tanh())
        twice = s * 2
        s *= 3
        m = e.nn.ModuleList([e.nn.ReLU(), e.nn.ReLU(), e.nn.Sequential(e.nn.Tanh(), e.nn.Tanh()), e.nn.ReLU()])
        with pytest.raises(TypeError):
            s * 1.5
        with pytest.raises(ValueError, match="Non-positive"):
            s * 0
        return len(twice), twice[0] is twice[2], len(s), repr(m), repr(copy.deepcopy(s))

    agree(program)


def test_sparse_initial_values():
    """sparse_ zeroes the same share of each column."""
    t = T.nn.init.sparse_(T.empty(10, 3), 0.25)
    assert (t == 0).sum(0).tolist() == [3, 3, 3]
    with pytest.raises(ValueError, match="2 dimensions"):
        T.nn.init.sparse_(T.empty(3), 0.5)


def test_sparse_gradients_step_where_an_optimizer_takes_them():
    """SGD takes sparse gradients, with momentum too, but for weight decay; Adam refuses them."""

    def program(e):
        layer = e.nn.Embedding(4, 2, sparse=True)
        layer.load_state_dict({"weight": e.arange(8.0).view(4, 2)})
        shown = []
        for make in (lambda p: e.optim.SGD(p, lr=0.25), lambda p: e.optim.SGD(p, lr=0.25, momentum=0.5, maximize=True)):
            optimizer = make(layer.parameters())
            for rows in ([0, 2], [2, 3]):
                optimizer.zero_grad()
                layer(e.tensor(rows)).sum().backward()
                optimizer.step()
            shown.append(layer.weight.tolist())
        for refused in (e.optim.Adam(layer.parameters()), e.optim.SGD(layer.parameters(), lr=0.25, weight_decay=0.5)):
            with pytest.raises(RuntimeError) as error:
                refused.step()
            shown.append(str(error.value))
        return shown

    agree(program)


def test_flags_are_bools():
    """requires_grad is a bool, as an attribute and as an argument."""

    def program(e):
        x = e.ones(1)
        messages = []
        with pytest.raises(RuntimeError) as error:
            x.requires_grad = 1
        messages.append(str(error.value))
        with pytest.raises(TypeError) as error:
            x.requires_grad_(1)
        return [*messages, str(error.value), x.requires_grad]

    agree(program)


def test_layers_without_elements_are_initialised_with_a_warning():
    """A matrix of no rows or columns is left as it is."""

    def program(e):
        with pytest.warns(UserWarning, match="Initializing zero-element tensors is a no-op"):
            layer = e.nn.Linear(3, 0)
        with pytest.warns(UserWarning, match="Initializing zero-element tensors is a no-op"):
            e.nn.init.kaiming_normal_(e.empty(0, 2))
        return tuple(layer.weight.shape), layer(e.ones(2, 3)).tolist()

    agree(program)


def test_the_class_of_a_parametrized_module():
    """type_before_parametrizations looks through what register_parametrization made of the class."""

    def program(e):
        parametrize = e.nn.utils.parametrize
        layer = e.nn.Linear(1, 1)
        names = [parametrize.type_before_parametrizations(layer).__name__]
        parametrize.register_parametrization(layer, "weight", e.nn.Identity())
        return [*names, parametrize.type_before_parametrizations(layer).__name__, type(layer).__name__]

    assert agree(program) == ["Linear", "Linear", "ParametrizedLinear"]
