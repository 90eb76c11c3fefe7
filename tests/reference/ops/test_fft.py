"""Transforms: derivatives are those of differences, values and derivatives those of torch, in all forms of arguments."""

from __future__ import annotations

import numpy as np
import pytest

import reference_engine as torch
from tests.reference.against import plain, same_as_torch
from tests.reference.ops.tables import bent, data, derivatives_hold

KINDS = ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"]
OF_REAL = ("rfft", "ihfft")
NORMS = [None, "backward", "forward", "ortho"]


def real_parts(e, x):
    """A complex result as real numbers, so that differences see both parts."""
    x = x.resolve_conj()
    return e.view_as_real(x) if x.is_complex() else x


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [None, 3, 4, 7])
@pytest.mark.parametrize("is_complex", [False, True])
def test_along_one_dimension(kind, n, is_complex):
    """Cut, as it is, and padded; of real and of complex signals."""
    if is_complex and kind in OF_REAL:
        with pytest.raises(RuntimeError, match=f"{kind} expects a real input tensor, but got ComplexDouble"):
            getattr(torch.fft, kind)(torch.zeros(4, dtype=torch.complex128))
        return
    call = lambda e, x: real_parts(e, getattr(e.fft, kind)(x, n=n))
    derivatives_hold(call, data([(2, 4)], complex=is_complex))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", NORMS)
def test_norms(kind, norm):
    """Each normalization, along another dimension."""
    call = lambda e, x: real_parts(e, getattr(e.fft, kind)(x, dim=0, norm=norm))
    same_as_torch(bent(call), data([(4, 2)], complex=kind not in OF_REAL))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", [{}, {"s": (3,)}, {"s": (3, 5)}, {"dim": (0, 1)}, {"s": (-1, 4), "dim": (1, 0)}, {"norm": "ortho"}]
)
def test_along_several_dimensions(kind, options):
    """fftn and fft2 with sizes, dimensions, and a normalization."""
    for name in (f"{kind}n", f"{kind}2"):
        call = lambda e, x, name=name: real_parts(e, getattr(e.fft, name)(x, **options))
        if name.endswith("2") and len(options.get("s", (1, 1))) == 1:
            with pytest.raises(RuntimeError, match="dim and shape arguments must have the same length"):
                call(torch, torch.zeros(3, 4))
            continue
        same_as_torch(bent(call), data([(3, 4)], complex=kind not in OF_REAL))


def test_shifts_and_frequencies():
    """fftshift and ifftshift undo each other; frequencies are NumPy's."""
    for name in ("fftshift", "ifftshift"):
        derivatives_hold(lambda e, x, name=name: getattr(e.fft, name)(x, 1), data([(2, 5)]))
    x = torch.arange(5.0)
    assert torch.fft.ifftshift(torch.fft.fftshift(x)).tolist() == x.tolist()
    np.testing.assert_allclose(plain(torch.fft.fftfreq(5, 0.5, dtype=torch.float64)), np.fft.fftfreq(5, 0.5))
    np.testing.assert_allclose(plain(torch.fft.rfftfreq(4, dtype=torch.float64)), np.fft.rfftfreq(4))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool", "complex64"])
def test_types(dtype):
    """Single precision stays single; integers become the default type."""
    theirs = pytest.importorskip("torch")
    for kind in KINDS:
        if dtype == "complex64" and kind in OF_REAL:
            continue
        ours, expected = (getattr(e.fft, kind)(e.ones(4, dtype=getattr(e, dtype))) for e in (torch, theirs))
        assert str(ours.dtype) == str(expected.dtype)


@pytest.mark.parametrize(("options", "message"), [
    ({"norm": "no"}, "Invalid normalization mode"), ({"n": 0}, "Invalid number of data points"), ({"dim": 3}, "Dimension out of range"),
])  # fmt: skip
def test_arguments_that_are_refused(options, message):
    """Errors of arguments; without them the call works."""
    with pytest.raises((RuntimeError, IndexError), match=message):
        torch.fft.fft(torch.ones(4), **options)
    assert torch.fft.fft(torch.ones(4)).shape == (4,)


# fmt: off
SPECTRA = {
    "centred": {"n_fft": 4, "return_complex": True},
    "not centred": {"n_fft": 4, "hop_length": 3, "center": False, "return_complex": True},
    "pairs": {"n_fft": 4, "normalized": True, "return_complex": False},
    "both sides": {"n_fft": 5, "onesided": False, "return_complex": True},
    "narrow window": {"n_fft": 6, "win_length": 3, "pad_mode": "constant", "return_complex": True},
}
# fmt: on


@pytest.mark.filterwarnings("ignore:stft with return_complex=False")
@pytest.mark.parametrize("name", SPECTRA)
def test_short_time_spectra(name):
    """stft by signal and window."""
    options = SPECTRA[name]
    width = options.get("win_length", options["n_fft"])
    call = lambda e, x, w: real_parts(e, e.stft(x, window=w, **options))
    derivatives_hold(call, data([(8,), (width,)]))


@pytest.mark.parametrize("options", [{}, {"normalized": True}, {"length": 10}, {"length": 14}, {"onesided": False}])
def test_signals_of_spectra(options):
    """istft undoes stft; its derivatives are those of differences."""
    window = lambda e: e.hann_window(4, dtype=e.float64) + 0.5
    more = {k: v for k, v in options.items() if k != "length"}
    back = lambda e, s: e.istft(e.view_as_complex(s.contiguous()), 4, window=window(e), **options)
    signal = data([(12,)])[0]
    spectrum = torch.stft(torch.from_numpy(signal), 4, window=window(torch), return_complex=True, **more)
    found = plain(back(torch, torch.view_as_real(spectrum)))
    np.testing.assert_allclose(found[:12], signal[: len(found)], atol=1e-12)
    assert len(found) == options.get("length", 12)
    derivatives_hold(back, [plain(torch.view_as_real(spectrum))])


def test_what_short_time_transforms_refuse():
    """A spectrum has to be complex, real signals have to say what they give, windows have to cover the signal."""
    with pytest.raises(RuntimeError, match="return_complex parameter be given"):
        torch.stft(torch.ones(8), 4, window=torch.ones(4))
    with pytest.raises(RuntimeError, match="complex-valued input"):
        torch.istft(torch.ones(3, 4), 4, window=torch.ones(4))
    with pytest.raises(RuntimeError, match="window overlap add min: 1"):
        torch.istft(torch.zeros(3, 4, dtype=torch.complex64), 4, window=torch.zeros(4))
    with pytest.raises(RuntimeError, match="expected hop_length > 0"):
        torch.stft(torch.ones(8), 4, 0, window=torch.ones(4), return_complex=True)


def test_parts_of_conjugated_tangents():
    """Real and imaginary parts of a tangent that is conjugated lazily are those of its values."""
    x, t = torch.tensor([1 + 2j, 3 - 1j]), torch.tensor([0.5 + 1j, 1j])
    for part in (lambda z: z.imag, lambda z: torch.view_as_real(z)[..., 1]):
        pushed = torch.func.jvp(lambda z, part=part: part((z * 2).conj_physical()), (x,), (t,))[1]
        assert pushed.tolist() == [-2.0, -2.0]
