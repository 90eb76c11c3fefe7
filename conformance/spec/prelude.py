"""The kit's words for plain torch, as source text: what `standalone` puts before a program. Nothing here is executed.

Each word is a piece of text with the imports and other pieces that it needs, so that a script carries only its own.
"""

from __future__ import annotations

from typing import NamedTuple


class Piece(NamedTuple):
    """The source of a word; `imports` are modules, `needs` are other pieces."""

    text: str
    imports: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


RAISES = '''
class raises:
    """The block must raise this error. A missing or unimplemented name does not count unless it is what is expected."""

    def __init__(self, kind, contains=None, match=None):
        self.kinds = kind if isinstance(kind, tuple) else (kind,)
        self.contains, self.match = contains, match

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        names = " or ".join(k.__name__ for k in self.kinds)
        assert kind is not None, f"no {names}"
        excuse = issubclass(kind, (AttributeError, NotImplementedError)) and kind not in self.kinds
        if excuse or not issubclass(kind, self.kinds):
            return False
        self.type, self.message = kind.__name__, str(error)
        assert self.contains is None or self.contains in self.message, f"{self.contains!r} is not in {self.message!r}"
        assert self.match is None or re.search(self.match, self.message), f"{self.message!r} lacks {self.match!r}"
        return True
'''

WARNINGS = '''
torch.set_warn_always(True)  # torch warns of some things once per process otherwise


@contextlib.contextmanager
def recorded_warnings():
    """A list of the block's warnings, each with .category and .message (text)."""
    caught = []

    def note(message, category, *place):
        caught.append(types.SimpleNamespace(message=str(message), category=category))

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        yield caught
'''

WARNS = '''
@contextlib.contextmanager
def warns(kind, contains=None, match=None):
    """The block must warn of this category."""
    with recorded_warnings() as caught:
        yield caught
    texts = [w.message for w in caught if issubclass(w.category, kind)]
    assert any(
        (contains is None or contains in text) and (match is None or re.search(match, text)) for text in texts
    ), f"no {kind.__name__} with {contains or match or 'any text'!r} among {[w.message for w in caught]}"
'''

SAME = '''
# |a - b| <= atol + rtol * max(|a|, |b|) at the precision of the coarser dtype; a Python float is exact beside a tensor.
TOLERANCE = {
    torch.float64: (1e-9, 1e-12),
    torch.float32: (1e-5, 1e-6),
    torch.float16: (4e-3, 1e-3),
    torch.bfloat16: (3.2e-2, 8e-3),
    torch.float8_e4m3fn: (0.25, 0.0625),
    torch.float8_e5m2: (0.5, 0.125),
}


def same(a, b):
    """Equal values: shapes exactly, floating numbers within tolerance, NaN equals NaN, a bool equals a bool only."""
    if not isinstance(a, torch.Tensor) and not isinstance(b, torch.Tensor):
        return _same_plain(a, b)
    dtypes = [t.dtype for t in (a, b) if isinstance(t, torch.Tensor)]
    error = sum(getattr(t, "error", 0.0) for t in (a, b))  # of a numerical derivative
    try:
        a, b = ((t if isinstance(t, torch.Tensor) else torch.tensor(t, dtype=_wide(t))).detach().cpu() for t in (a, b))
    except (TypeError, ValueError, RuntimeError):
        return False
    if a.shape != b.shape or (a.dtype == torch.bool) != (b.dtype == torch.bool):
        return a.numel() == b.numel() == 0 and a.shape == b.shape
    if not any(t.is_floating_point() or t.is_complex() for t in (a, b)):
        return bool((a == b).all())
    known = [(rtol, atol) for dtype, (rtol, atol) in TOLERANCE.items() if any(t.to_real() == dtype for t in dtypes)]
    rtol, atol = max(known, default=TOLERANCE[torch.float64])
    return _close(a, b, rtol, atol + error)


def _same_plain(a, b):
    """`same` without tensors on the outside."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float, complex)) and isinstance(b, (int, float, complex)):
        exact = isinstance(a, int) and isinstance(b, int)
        if exact:
            return a == b
        return _close(*(torch.tensor(v, dtype=torch.complex128) for v in (a, b)), *TOLERANCE[torch.float64])
    for kind in (list, tuple):
        if isinstance(a, kind) and isinstance(b, kind):
            return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return a == b


def _wide(value):
    """The widest dtype of a number or nested list; None leaves integers and bools as they are."""
    if isinstance(value, (list, tuple)):
        inner = [_wide(item) for item in value]
        return next((dtype for dtype in (torch.complex128, torch.float64) if dtype in inner), None)
    if isinstance(value, torch.Tensor):
        return torch.complex128 if value.is_complex() else torch.float64 if value.is_floating_point() else None
    return {float: torch.float64, complex: torch.complex128}.get(type(value))


def _close(a, b, rtol, atol):
    """Whether two tensors of one shape agree, in float64: NaN with NaN, an infinity with the same one."""
    if a.is_complex() or b.is_complex():
        a, b = (torch.view_as_real(t.to(torch.complex128).resolve_conj()) for t in (a, b))
    a, b = a.to(torch.float64), b.to(torch.float64)
    gap, scale = (a - b).abs(), torch.maximum(a.abs(), b.abs())
    agree = (a == b) | (a.isnan() & b.isnan()) | (scale.isfinite() & (gap <= atol + rtol * scale))
    return bool(agree.all())
'''

IDENTICAL = '''
def identical(a, b):
    """Equal bit for bit, the signs of zeros included; any NaN is as good as another."""
    tensor = next((t for t in (a, b) if isinstance(t, torch.Tensor)), None)
    if tensor is None and isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(identical, a, b))
    if tensor is None and not isinstance(a, (float, complex)):
        return type(a) is type(b) and a == b
    kind = torch.float64 if isinstance(a, float) else torch.complex128
    a, b = (
        t.detach() if isinstance(t, torch.Tensor) else torch.tensor(t, dtype=kind if tensor is None else tensor.dtype)
        for t in (a, b)
    )
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.is_complex():
        a, b = torch.view_as_real(a), torch.view_as_real(b)
    signs = a.signbit() == b.signbit() if a.is_floating_point() else torch.ones_like(a, dtype=torch.bool)
    return bool((((a == b) & signs) | (a.isnan() & b.isnan())).all())
'''

DIRECTION = '''
def direction(like, seed=0):
    """A tensor like this one, of fixed numbers between 0.5 and 1.5 with either sign; for a list or tuple, a list."""
    if isinstance(like, (list, tuple)):
        return [_fixed(item, 64 * seed + index) for index, item in enumerate(like)]
    return _fixed(like, 64 * seed)


def _fixed(like, key):
    """The numbers of `direction`, by NumPy's Philox generator."""
    drawn = numpy.random.Generator(numpy.random.Philox(key=key)).random((1 + like.is_complex(), *like.shape))
    drawn = torch.from_numpy(2 * drawn - 1)
    drawn = drawn + torch.where(drawn < 0, -0.5, 0.5)
    return (torch.complex(*drawn) if like.is_complex() else drawn[0]).to(like.dtype)
'''

INNER_PRODUCT = '''
def inner_product(left, right):
    """Re sum(conj(left) * right), of two tensors or two lists of tensors."""
    sides = [side if isinstance(side, (list, tuple)) else [side] for side in (left, right)]
    error = sum(getattr(a, "error", 0.0) * b.abs().sum().item() for pair in zip(*sides) for a, b in (pair, pair[::-1]))
    product = sum((a.detach().conj() * b.detach()).real.sum().to(torch.float64) for a, b in zip(*sides, strict=True))
    return _estimated(product, error)
'''

ESTIMATED = '''
def _estimated(tensor, error):
    """A tensor that carries how far it may be off: `same` allows for it."""
    tensor.error = error
    return tensor
'''

ROUNDED = '''
def rounded(wide, like, inputs):
    """`wide`, computed in float64, as it may be in the dtype of `like`: off by a share of its largest element."""
    if isinstance(wide, (list, tuple)):
        return tuple(rounded(w, item, inputs) for w, item in zip(wide, like))
    rtol, _ = TOLERANCE.get(like.real.dtype if like.is_complex() else like.dtype, (None, None))
    if rtol is None:
        return wide
    largest = wide.detach().abs()[wide.detach().isfinite()].max().item() if wide.isfinite().any() else 0.0
    terms = max([wide.numel(), *(x.numel() for x in inputs)])
    return _estimated(wide.detach(), rtol * largest * max(1.0, terms**0.5 / 8))
'''

NUMERICAL = '''
def numerical_vjp(f, inputs, cotangents, elementwise=False, analytic=False):
    """What backward(cotangents) of f(*inputs) accumulates in each input, by central differences, element by element."""
    inputs, cotangents = [x.detach() for x in inputs], _as_list(cotangents)
    found = []
    for x in inputs:
        gradient = torch.zeros(x.shape, dtype=x.dtype)
        for e in range(x.numel()):
            for unit in (1, 1j) if x.is_complex() else (1,):
                tangents = [torch.zeros(other.shape, dtype=other.dtype) for other in inputs]
                tangents[len(found)].view(-1)[e] = unit
                along = _as_list(numerical_jvp(f, inputs, tangents))
                slope = sum((w.detach().conj() * d).real.sum() for w, d in zip(cotangents, along))
                gradient.view(-1)[e] += unit * slope
        found.append(_estimated(gradient, 1e-7 * (1 + gradient.abs().max().item() if x.numel() else 0.0)))
    return found


def numerical_jvp(f, inputs, tangents, analytic=False, leaves=False):
    """The derivative of f(*inputs) along the tangents, by central differences of two steps (Richardson)."""
    def at(step):
        moved = [(x + step * t).detach().requires_grad_(leaves) for x, t in zip(inputs, tangents)]
        return [y.detach() for y in _as_list(f(*moved))]

    moved = [(t != 0).to(x.real.dtype) * x.abs() for x, t in zip(inputs, tangents)]
    size = min((m[m > 0].min().item() for m in moved if (m > 0).any()), default=1.0)
    h = 1e-3 * max(size, 0.05)
    found = [
        _estimated(d, 1e-7 * (1 + d.abs().max().item() if d.numel() else 0.0))
        for d in ((8 * (b - c) - (a - d)) / (12 * h) for a, b, c, d in zip(at(2 * h), at(h), at(-h), at(-2 * h)))
    ]
    several = isinstance(f(*[x.detach().requires_grad_(leaves) for x in inputs]), (list, tuple))
    return tuple(found) if several else found[0]


def _as_list(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]
'''

SAME_STORAGE = '''
def same_storage(a, b):
    """Whether two tensors look at the same memory."""
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
'''

WEAK = '''
def weak(x):
    """Call the result: x while it lives, None afterwards."""
    return weakref.ref(x)
'''

COLLECT = '''
def collect():
    """Let Python's garbage collector find what only cycles keep alive."""
    gc.collect()
'''

DEFAULTS = '''
def defaults(f):
    """The default of every parameter of f that has one, by name."""
    parameters = inspect.signature(f).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}
'''

DEEP_COPY = '''
def deep_copy(x):
    """A copy that shares nothing with x."""
    return copy.deepcopy(x)
'''

RUN_THREADS = '''
def run_threads(*functions):
    """Each function in a thread of its own, all at once: their results in order, or the first error."""
    with concurrent.futures.ThreadPoolExecutor(max(1, len(functions))) as pool:
        together = threading.Barrier(max(1, len(functions)))
        running = [pool.submit(lambda f=f: (together.wait(), f())[1]) for f in functions]
    return [each.result() for each in running]
'''

LOCK = '''
def lock():
    """A new lock, for `with`."""
    return threading.Lock()
'''

THREAD_ID = '''
def thread_id():
    """Which of the running threads this is."""
    return threading.get_ident()
'''

PIECES: dict[str, Piece] = {
    "math": Piece("", ("math",)),
    "OrderedDict": Piece("", ("from collections import OrderedDict",)),
    "raises": Piece(RAISES, ("re",)),
    "recorded_warnings": Piece(WARNINGS, ("contextlib", "types", "warnings")),
    "warns": Piece(WARNS, ("re",), ("recorded_warnings",)),
    "same": Piece(SAME),
    "identical": Piece(IDENTICAL),
    "same_storage": Piece(SAME_STORAGE),
    "direction": Piece(DIRECTION, ("numpy",)),
    "inner_product": Piece(INNER_PRODUCT, (), ("estimated",)),
    "rounded": Piece(ROUNDED, (), ("same", "estimated")),
    "estimated": Piece(ESTIMATED),
    "numerical": Piece(NUMERICAL),
    "numerical_vjp": Piece("", (), ("numerical", "estimated")),
    "numerical_jvp": Piece("", (), ("numerical", "estimated")),
    "weak": Piece(WEAK, ("weakref",)),
    "collect": Piece(COLLECT, ("gc",)),
    "defaults": Piece(DEFAULTS, ("inspect",)),
    "deep_copy": Piece(DEEP_COPY, ("copy",)),
    "run_threads": Piece(RUN_THREADS, ("concurrent.futures", "threading")),
    "lock": Piece(LOCK, ("threading",)),
    "thread_id": Piece(THREAD_ID, ("threading",)),
}
