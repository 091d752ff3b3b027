"""Time the prediction targets, and Gabor filters computed in other ways.

Every round times each target once on the same clips, so that a machine that
slows down slows all of them. `joint step` is everything that one step of
joint pretraining computes: Gabor, contour and motion of the clips, and Gabor,
contour and pixels of one frame per clip, which reuses the clips' maps.

Example:
    python tools/benchmarks/targets.py --batch 2 --rounds 9 --alternatives
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from bimm_mm.structures import ClipBatch
from bimm_mm.targets import (
    ContourTarget,
    GaborTarget,
    MotionTarget,
    PixelTarget,
)
from bimm_mm.targets.base import luma
from bimm_mm.targets.gabor_bank import Bank, filters, gabor

VIDEO, IMAGE = (2, 16, 16), (1, 16, 16)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batch', type=int, default=2, help='clips')
    parser.add_argument('--frames', type=int, default=16)
    parser.add_argument('--size', type=int, default=224, help='pixels')
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--warmup', type=int, default=2)
    parser.add_argument('--threads', type=int, help='CPU threads')
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument(
        '--alternatives',
        action='store_true',
        help='other strides, and Gabor filters by conv2d and by FFT',
    )
    return parser.parse_args()


def clips(args: argparse.Namespace) -> Callable[[], ClipBatch]:
    """A function that returns a clips which remembers no maps yet."""
    shape = (args.batch, 3, args.frames, args.size, args.size)
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    pixels = pixels.to(args.device)
    contour = pixels[:, :1].contiguous()
    return lambda: ClipBatch(pixels, pixels, contour)


def joint_step() -> Callable[[ClipBatch], None]:
    """All targets of a joint step with the default areas."""
    early = [GaborTarget(), ContourTarget()]
    motion, pixel = MotionTarget(), PixelTarget()

    def run(clips: ClipBatch) -> None:
        for target in (*early, motion):
            target(clips, VIDEO)
        index = torch.zeros(len(clips.pixels), dtype=torch.int64)
        frame = clips.frame(index.to(clips.pixels.device))
        for target in (*early, pixel):
            target(frame, IMAGE)

    return run


def cases(alternatives: bool) -> dict[str, Callable[[ClipBatch], object]]:
    """What is timed, by name."""

    def target(module: torch.nn.Module) -> Callable[[ClipBatch], object]:
        return lambda clips: module(clips, VIDEO)

    found = {
        'joint step': joint_step(),
        'Gabor': target(GaborTarget()),
        'contour (map)': target(ContourTarget()),
        'contour (sobel)': target(ContourTarget('sobel')),
        'motion': target(MotionTarget()),
        'pixel (videomae)': target(PixelTarget()),
        'pixel (mae)': target(PixelTarget('mae')),
    }
    if not alternatives:
        return found
    bank = GaborTarget().bank
    ways = {'products': gabor, 'conv2d': by_conv2d, 'FFT': by_fft}
    for way, *strides in (
        ('products', 4, 4, 4, 4),
        ('conv2d', 4, 4, 4, 4),
        ('FFT', 4, 4, 4, 4),
        ('products', 2, 4, 4, 4),
        ('products', 2, 2, 4, 4),
        ('products', 2, 2, 2, 2),
        ('conv2d', 2, 2, 2, 2),
        ('products', 1, 1, 1, 1),
    ):
        numbers = bank._replace(strides=tuple(strides))
        name = f'Gabor maps, {way}, stride {" ".join(map(str, strides))}'
        found[name] = lambda clips, way=way, numbers=numbers: ways[way](
            luma(clips), numbers
        )
    return found


def plane_filters(bank: Bank, scale: int) -> tuple[Tensor, Tensor, Tensor]:
    """Filters of one wavelength in two dimensions, from their formula.

    Returns:
        tuple: Even and odd filters (O, 2, L, L) of unit energy, the gains
        (O, 2) that gave it to them, and the mean (O,) taken from the even.
    """
    offsets, g, _, _ = filters(bank, scale)
    angle = torch.arange(bank.orientations) * (torch.pi / bank.orientations)
    angle = angle.double().view(-1, 1, 1)
    along = offsets * angle.cos() + offsets[:, None] * angle.sin()
    phase = 2 * torch.pi / bank.wavelengths[scale] * along
    envelope = torch.outer(g, g)
    waves = torch.stack([phase.cos(), phase.sin()], 1) * envelope
    mean = waves[:, 0].sum((1, 2)) / envelope.sum()
    waves[:, 0] -= mean.view(-1, 1, 1) * envelope
    gain = 1 / waves.flatten(2).norm(dim=2)
    return waves * gain[..., None, None], gain, mean


def padded(picture: Tensor, bank: Bank, scale: int) -> Tensor:
    """Frames (N, 1, H', W') with the margins that the filters need."""
    frames = picture.transpose(1, 2).flatten(0, 1)
    offsets, stride = filters(bank, scale)[0], bank.strides[scale]
    before = -round((stride - 1) / 2 + offsets[0].item())
    after = len(offsets) - stride - before
    return F.pad(frames, (before, after, before, after), mode='reflect')


def pooled(maps: list[Tensor], picture: Tensor, bank: Bank) -> Tensor:
    """Magnitudes (N, O, h, w) of every wavelength, as `gabor` returns them."""
    cells = [
        F.avg_pool2d(magnitude, bank.cell // stride)
        for magnitude, stride in zip(maps, bank.strides, strict=True)
    ]
    joined = torch.cat(cells, 1)
    joined = joined / (joined.norm(dim=1, keepdim=True) + bank.eps)
    return joined.unflatten(0, (len(picture), -1)).transpose(1, 2)


def by_conv2d(picture: Tensor, bank: Bank) -> Tensor:
    """Gabor maps by separable convolutions of torch."""
    maps = []
    for scale, stride in enumerate(bank.strides):
        _, g, along_x, along_y = (
            x.float().to(picture.device) for x in filters(bank, scale)
        )
        gain, mean = (
            x.float().to(picture.device)
            for x in plane_filters(bank, scale)[1:]
        )
        frames = padded(picture, bank, scale)
        pairs = len(along_x)
        kernel = torch.cat([along_x.flatten(0, 1), g[None]])[:, None, None]
        rows = F.conv2d(frames, kernel, stride=(1, stride))
        kernel = along_y.repeat_interleave(2, 0).view(4 * pairs, 1, -1, 1)
        waves = F.conv2d(
            rows[:, :-1], kernel, stride=(stride, 1), groups=2 * pairs
        )
        blur = F.conv2d(rows[:, -1:], g.view(1, 1, -1, 1), stride=(stride, 1))
        waves = waves.unflatten(1, (pairs, 4))
        found = []
        for k in range(bank.orientations):
            mirrored = k >= pairs
            pair = bank.orientations - k if mirrored else k
            cc, cs, sc, ss = waves[:, pair].unbind(1)
            sign = -1 if mirrored else 1
            even = (cc - sign * ss - mean[k] * blur[:, 0]) * gain[k, 0]
            odd = (cs + sign * sc) * gain[k, 1]
            found.append((even.square() + odd.square()).sqrt())
        maps.append(torch.stack(found, 1))
    return pooled(maps, picture, bank)


def by_fft(picture: Tensor, bank: Bank) -> Tensor:
    """Gabor maps by products of spectra."""
    maps = []
    for scale, stride in enumerate(bank.strides):
        frames = padded(picture, bank, scale)
        kernel = plane_filters(bank, scale)[0].float().to(picture.device)
        size = [
            (n + kernel.shape[-1] + 31) // 32 * 32 for n in frames.shape[-2:]
        ]
        filtered = torch.fft.rfft2(frames, s=size)
        kernel = torch.fft.rfft2(kernel, s=size).conj()
        h, w = (n // stride for n in picture.shape[-2:])
        found = []
        for pair in kernel:  # one orientation at a time: memory
            both = torch.fft.irfft2(filtered * pair, s=size)
            both = both[..., ::stride, ::stride][..., :h, :w]
            found.append(both.square().sum(1).sqrt())
        maps.append(torch.stack(found, 1))
    return pooled(maps, picture, bank)


def check(clips: ClipBatch) -> None:
    """Print how far the alternatives are from the maps that are used."""
    bank = GaborTarget().bank
    picture = luma(clips)
    expected = gabor(picture, bank)
    for way in (by_conv2d, by_fft):
        error = (way(picture, bank) - expected).abs().max().item()
        print(f'largest difference of {way.__name__}: {error:.1e}')


def clock(run: Callable[[], object], device: str) -> float:
    """Milliseconds that ``run`` takes, work on the device included."""
    synchronise = device.startswith('cuda')
    if synchronise:
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if synchronise:
        torch.cuda.synchronize()
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    """Time everything and print one table."""
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    fresh = clips(args)
    if args.alternatives:
        check(fresh())
    table: dict[str, list[float]] = {}
    timed = cases(args.alternatives)
    for number in range(args.warmup + args.rounds):
        for name, run in timed.items():
            batch = fresh()
            spent = clock(lambda run=run, s=batch: run(s), args.device)
            if number >= args.warmup:
                table.setdefault(name, []).append(spent)
    shape = f'{args.batch} x {args.frames} x {args.size} x {args.size}'
    print(f'{shape} on {args.device}, {torch.get_num_threads()} threads')
    print(f'{"":40}{"median":>9}{"min":>9}{"max":>9}{"of joint":>10}')
    whole = statistics.median(table['joint step'])
    for name, spent in table.items():
        median = statistics.median(spent)
        print(
            f'{name:40}{median:6.1f} ms{min(spent):6.1f} ms'
            f'{max(spent):6.1f} ms{median / whole:9.2f}x'
        )


if __name__ == '__main__':
    with torch.no_grad():
        main()
