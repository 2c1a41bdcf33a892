"""HTML and SVG from plain data: tables, curves, histograms, images; for notebooks and reports.

Text is in the page's own colour and lines have one that reads on light and on dark.
"""

from __future__ import annotations

import base64
import math
import re
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

COLORS = ("#2f7fc1", "#d9822b")
WIDTH, HEIGHT, LEFT, BOTTOM = 340, 170, 56, 18
CELLS, PIXELS = 12, 512
"""The most rows and columns that an array is shown with as numbers, and as an image."""
KERNEL = re.compile(r" +\d+ +([\d.]+) +([\d?]+%?\??) (\w+) +([\d,]+) +([\d,]+) *(.*)")


class Html(str):
    """A text that is markup already, and not to be escaped."""


def table(lines: Iterable[Sequence[Any]], caption: str = "") -> Html:
    """Return an HTML table; the first line is its head. Cells are text, or Html."""
    head, *rows = [[_cell(cell) for cell in line] for line in lines]
    text = f"<caption style='white-space:nowrap'>{escape(caption)}</caption>" if caption else ""
    text += "<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"
    for row in rows:
        text += "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
    return Html(f"<table>{text}</table>")


def _cell(value: Any) -> str:
    return value if isinstance(value, Html) else escape(str(value))


def array(values: Any, caption: str) -> Html:
    """Return an array as a table where it is small, as an image where it is a larger matrix."""
    if not isinstance(values, np.ndarray):  # a traced one has no numbers yet
        return Html(escape(repr(values)))
    if values.ndim in (1, 2) and max(values.shape) <= CELLS and values.size:
        rows = values if values.ndim == 2 else values[None]
        cells = [[f"{x:.4g}" for x in row] for row in rows]
        return table([range(rows.shape[1]), *cells], caption)
    if values.ndim == 2 and values.size > 0 and max(values.shape) <= PIXELS:
        return Html(f"{picture(values)}<br>{escape(caption)}")
    return Html(f"<pre>{escape(str(values))}</pre>{escape(caption)}")


def chart(title: str, xs: Sequence[float], curves: Mapping[str, Sequence[float]]) -> Html:
    """Return curves over `xs` as SVG, with the range of both axes; NaN is left out."""
    values = [y for ys in curves.values() for y in ys if math.isfinite(y)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    first, last = (min(xs), max(xs)) if xs else (0, 1)

    def place(x: float, y: float) -> str:
        right = LEFT + (x - first) / ((last - first) or 1) * (WIDTH - LEFT - 8)
        down = 8 + (high - y) / ((high - low) or 1) * (HEIGHT - BOTTOM - 16)
        return f"{right:.1f},{down:.1f}"

    body, legend = "", []
    for color, (name, ys) in zip(COLORS, curves.items(), strict=False):
        points = " ".join(place(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(y))
        body += f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>'
        legend.append(f'<span style="color:{color}">&#9632;</span> {escape(name)}')
    for label, x, y, anchor in (
        (f"{high:.3g}", LEFT - 6, 14, "end"), (f"{low:.3g}", LEFT - 6, HEIGHT - BOTTOM - 4, "end"),
        (f"{first:g}", LEFT, HEIGHT - 4, "start"), (f"{last:g}", WIDTH - 8, HEIGHT - 4, "end"),
    ):  # fmt: skip
        body += f'<text x="{x}" y="{y}" text-anchor="{anchor}">{label}</text>'
    frame = f'<path d="M{LEFT} 4V{HEIGHT - BOTTOM}H{WIDTH - 4}" fill="none" stroke="#888"/>'
    svg = _svg(WIDTH, HEIGHT, f'<g font-size="11" fill="currentColor">{frame}{body}</g>', title)
    names = " &nbsp; ".join(legend) if len(legend) > 1 else ""
    return Html(f"<figure><figcaption><b>{escape(title)}</b> {names}</figcaption>{svg}</figure>")


def histogram(values: np.ndarray, bins: int = 31) -> Html:
    """Return how values are distributed, between the smallest and the largest, as small SVG."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return Html("")
    counts, edges = np.histogram(finite, bins)
    bars = "".join(
        f'<rect x="{4 * i}" y="{26 - h:.1f}" width="3" height="{h:.1f}"/>'
        for i, h in enumerate(counts / counts.max() * 26)
    )
    svg = _svg(4 * bins, 26, f'<g fill="{COLORS[0]}">{bars}</g>', "histogram", "height:26px")
    return Html(f"{svg}<br><small>{edges[0]:.3g} to {edges[-1]:.3g}</small>")


def _svg(width: int, height: int, body: str, label: str, style: str = "max-width:100%") -> str:
    size = f'viewBox="0 0 {width} {height}" width="{width}" style="{style}"'
    return f'<svg {size} role="img" aria-label="{escape(label)}">{body}</svg>'


def bar(share: float) -> Html:
    """Return a horizontal bar for a share from 0 to 1."""
    width = f"{100 * min(max(share, 0.0), 1.0):.1f}%"
    style = f"width:{width};min-width:1px;height:.8em;background:{COLORS[0]}"
    return Html(f'<div style="width:8em"><div style="{style}"></div></div>')


def picture(values: np.ndarray) -> Html:
    """Return an <img> of (H, W), (H, W, 1 or 3) or (1 or 3, H, W); nothing for other shapes.

    0 is black and 1 is white, or the smallest and the largest value where they lie outside.
    """
    if values.ndim == 3 and values.shape[0] in (1, 3):
        values = np.moveaxis(values, 0, -1)
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim not in (2, 3) or values.shape[2:] not in ((), (3,)) or min(values.shape) < 1:
        return Html("")
    finite = values[np.isfinite(values)].astype(np.float64)
    low, high = finite.min(initial=0.0), finite.max(initial=1.0)
    scaled = np.nan_to_num((values - low) / (high - low) * 255, nan=0.0)
    pixels = scaled.clip(0, 255).round().astype(np.uint8)
    data = base64.b64encode(png(pixels)).decode("ascii")
    width = pixels.shape[1] * max(1, 64 // max(pixels.shape[:2]))
    style = f'width="{width}" style="image-rendering:pixelated"'
    return Html(f'<img src="data:image/png;base64,{data}" {style} alt="">')


def png(pixels: np.ndarray) -> bytes:
    """Return uint8 pixels (H, W) or (H, W, 3) as a PNG file."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(pixels))
    header = struct.pack(">2I5B", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def explanation(text: str) -> Html:
    """Return what `explain()` says, its kernels as tables with a bar for each one's time."""
    found: list[str] = []
    kernels: list[tuple[str, ...]] = []
    for line in [*text.splitlines(), ""]:
        match = KERNEL.fullmatch(line)
        if match:
            kernels.append(match.groups())
        elif kernels:
            found.append(_kernels(kernels))
            kernels = []
        if not match and "share of limit" not in line:
            found.append(f"<div style='white-space:pre-wrap'>{escape(line)}</div>")
    return Html("\n".join(found))


def _kernels(kernels: list[tuple[str, ...]]) -> Html:
    longest = max(float(kernel[0]) for kernel in kernels) or 1.0
    rows = [
        (f"{us} us", bar(float(us) / longest), f"{share} of {what}", *numbers, _left(where))
        for us, share, what, *numbers, where in kernels
    ]
    return table([("time", "", "limit reached", "bytes", "flops", _left("ops; lines")), *rows])


def _left(text: str) -> Html:
    return Html(f'<div style="text-align:left">{escape(text)}</div>')
