"""Short-time Fourier transform and its inverse: compositions of frames, windows and transforms.

Source: torch.stft, torch.istft.
"""

from __future__ import annotations

import numpy as np

from reference_engine.ops.complex import view_as_real
from reference_engine.ops.fourier import c2c, c2r, promoted, r2c, resized
from reference_engine.ops.padding import pad
from reference_engine.ops.positions import narrow_to, put_positions
from reference_engine.ops.registry import both
from reference_engine.ops.strided import unfold
from reference_engine.state import warn_once
from reference_engine.tensor import Tensor, wrap


def _window(x: Tensor, window: Tensor | None, win_length: int, n_fft: int, purpose: str) -> Tensor:
    """The window in the middle of n_fft elements, zeros around it; ones where there is none."""
    if window is None:
        warn_once("window", f"A window was not provided. A rectangular window will be applied{purpose}")
        window = wrap(np.ones(win_length, x._array.real.dtype))
    before = (n_fft - win_length) // 2
    return pad(window, (before, n_fft - win_length - before)) if win_length < n_fft else window


def _check(name: str, n_fft: int, hop: int, win_length: int, window: Tensor | None, longest: int | None) -> None:
    wrong = None
    if longest is not None and not 0 < n_fft <= longest:
        wrong = f"expected 0 < n_fft < {longest}, but got n_fft={n_fft}"
    elif hop <= 0:
        wrong = f"expected hop_length > 0, but got hop_length={hop}"
    elif not 0 < win_length <= n_fft:
        wrong = f"expected 0 < win_length <= n_fft, but got win_length={win_length}"
    elif window is not None and window.shape != (win_length,):
        wrong = (f"expected a 1D window tensor of size equal to win_length={win_length}, but got window with size "
                 f"{list(window.shape)}")  # fmt: skip
    if wrong:
        raise RuntimeError(f"{name}(n_fft={n_fft}, hop_length={hop}, win_length={win_length}) : {wrong}")


@both
def stft(input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
         window: Tensor | None = None, center: bool = True, pad_mode: str = "reflect", normalized: bool = False,
         onesided: bool | None = None, return_complex: bool | None = None, align_to_window: bool | None = None) -> Tensor:  # fmt: skip
    """Spectra of windows that slide over signals: (..., frequency, frame). Source: torch.stft."""
    is_complex = input.is_complex() or (window is not None and window.is_complex())
    if return_complex is None:
        if not is_complex:
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will further require that return_complex=True in a future PyTorch release."
            )
        return_complex = True
    if not return_complex:
        warn_once("stft", "stft with return_complex=False is deprecated. In a future pytorch release, stft will return complex "
                  "tensors for all inputs, and return_complex=False will raise an error.\nNote: you can still call "
                  "torch.view_as_real on the complex output to recover the old return format.")  # fmt: skip
    hop, width = n_fft // 4 if hop_length is None else hop_length, n_fft if win_length is None else win_length
    if input._array.ndim not in (1, 2):
        raise RuntimeError(f"stft(): expected a 1D or 2D tensor, but got {input._array.ndim}D")
    x = input if input._array.ndim == 2 else input.unsqueeze(0)
    if center:
        x = pad(x.unsqueeze(1), (n_fft // 2, n_fft // 2), mode=pad_mode).squeeze(1)
    _check("stft", n_fft, hop, width, window, x._array.shape[-1])
    frames = unfold(x, -1, n_fft, hop) * _window(x, window, width, n_fft, (
        ",which is known to cause spectral leakage. Other windows such as torch.hann_window or torch.hamming_window are "
        "recommended to reduce spectral leakage.To suppress this warning and use a rectangular window, explicitly set "
        "`window=torch.ones(n_fft, device=<device>)`."))  # fmt: skip
    scale = float(n_fft**-0.5) if normalized else 1.0
    half = not is_complex if onesided is None else onesided
    if half and is_complex:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    if half:
        spectra = r2c(frames, dims=(2,), scale=scale)
    else:
        spectra = c2c(promoted(frames, to_complex=True), dims=(2,), inverse=False, scale=scale)
    spectra = spectra.transpose_(1, 2)
    if input._array.ndim == 1:
        spectra = spectra.squeeze_(0)
    return spectra if return_complex else view_as_real(spectra)


def _overlapped(frames: Tensor, hop: int) -> Tensor:
    """(rows, frames, n) added up into (rows, signal) at steps of `hop`."""
    rows, count, n = frames._array.shape
    length = n + hop * (count - 1)
    steps = hop * np.arange(count)[:, None] + np.arange(n)
    positions = length * np.arange(rows)[:, None, None] + steps
    return put_positions(frames, positions=positions, shape=(rows, length))


@both
def istft(input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
          window: Tensor | None = None, center: bool = True, normalized: bool = False, onesided: bool | None = None,
          length: int | None = None, return_complex: bool = False) -> Tensor:  # fmt: skip
    """The signals whose stft is nearest to the spectra given, by least squares. Source: torch.istft."""
    if not input.is_complex():
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True."
        )
    hop, width = n_fft // 4 if hop_length is None else hop_length, n_fft if win_length is None else win_length
    x = (input if input._array.ndim == 3 else input.unsqueeze(0)).transpose(1, 2)
    bins, half = x._array.shape[-1], onesided
    if half is None:
        half = bins != n_fft
    if bins != (n_fft // 2 + 1 if half else n_fft):
        raise RuntimeError("istft(): expected the frequency dimension (3rd to the last) of the input tensor to match n_fft "
                           f"{'/ 2 + 1 ' if half else ''}when onesided={half}, but got {bins}")  # fmt: skip
    _check("istft", n_fft, hop, width, window, None)
    shape = _window(x, window, width, n_fft, (
        ".Please provide the same window used by stft to make the inversion lossless.To suppress this warning and use a "
        "rectangular window, explicitly set `window=torch.ones(n_fft, device=<device>)`."))  # fmt: skip
    scale = float(n_fft**-0.5) if normalized else 1 / n_fft
    frames = _frames(x, n_fft, scale, half=half, is_complex=return_complex)
    rows = _overlapped(frames * shape, hop)
    weight = _overlapped((shape * shape).expand(1, x._array.shape[1], n_fft), hop)
    start = n_fft // 2 if center else 0
    whole = rows._array.shape[-1]
    end = min(start + length, whole) if length is not None else whole - start
    rows, weight = narrow_to(rows, 1, start, end - start), narrow_to(weight, 1, start, end - start)
    if np.abs(weight._array).min(initial=np.inf) <= 1e-11:
        raise RuntimeError("istft() window overlap add min: 1")
    signal = rows / weight
    if length is not None and length > end - start:
        warn_once("istft", "The length of signal is shorter than the length parameter. Result is being padded with zeros in the "
                  "tail. Please check your center and hop_length settings.")  # fmt: skip
        signal = resized(signal, {1: length})
    return signal if input._array.ndim == 3 else signal.squeeze_(0)


def _frames(x: Tensor, n_fft: int, scale: float, *, half: bool, is_complex: bool) -> Tensor:
    """The frames of (row, frame, bin)."""
    if is_complex:
        if half:
            raise RuntimeError("cannot have onesided output if window or input is complex")
        return c2c(x, dims=(2,), inverse=True, scale=scale)
    if not half:
        x = narrow_to(x, 2, 0, n_fft // 2 + 1)
    return c2r(x, dims=(2,), size=n_fft, scale=scale)
