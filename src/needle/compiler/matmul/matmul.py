"""Matrix products as register-tiled loop nests, specialised to their shapes.

C = A B (batched, either operand stored transposed). The columns of C are cut into *panels* of a few
vectors, the rows into *tiles*; a tile of a panel is held in registers while the whole of K runs:

    for panel of columns:
        copy the panel of B to scratch, contiguous        (where that pays)
        for tile of rows:
            for k: accumulators += A[rows, k] * B[k, columns]
            epilogue(accumulators)

Tiles of rows have two heights, h and h - 1, so that they cover any number of rows without a short
one; the last panel may be narrower. Each element is the sum of its products in the order of k, for
any tile, split and number of threads. The goal in registers and caches is that of K. Goto,
R. van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), 2008.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

from needle.compiler.target import ITEM_BYTES, Target

Split = Literal["rows", "columns"]

_MOST_BLOCKS = 32  # blocks of one matrix: enough for 16 threads, few enough for partials
_STAGE_ROWS = 256  # rows of partial sums kept between two blocks of K
_TALL = 512  # terms of a product of tall matrices, A^T B, between which A's cache lines survive
_PACK_ROWS = 64  # rows that share a packed panel: packing costs about 8 rows' work


@dataclass(frozen=True)
class MatMulPlan:
    """Shapes of tiles, panels and blocks of one product; ``blocks`` and ``scratch`` matter outside.

    A block is ``tiles_per_block`` tiles of rows (``panels_per_block`` panels of columns) of one
    matrix of the batch; they are counted matrix by matrix.
    """

    m: int
    n: int
    k: int
    batch: int
    dtype: str
    transpose_a: bool
    transpose_b: bool
    split: Split
    lanes: int
    height: int
    vectors: int
    pack: bool
    k_blocks: int
    panels_given: bool = False  # B is in panels already: see `lower.panels`

    @property
    def tiles(self) -> int:
        """Tiles of rows of one matrix."""
        return -(-self.m // self.height)

    @property
    def tall_tiles(self) -> int:
        """The first tiles, those of full height; the others have one row less."""
        return self.tiles - (self.tiles * self.height - self.m)

    @property
    def panel_columns(self) -> int:
        """Columns of a whole panel."""
        return self.vectors * self.lanes

    @property
    def panels(self) -> int:
        """Panels of columns, the last one perhaps narrower."""
        return -(-self.n // self.panel_columns)

    @property
    def k_block(self) -> int:
        """Terms summed before the next panel of B is packed."""
        return -(-self.k // self.k_blocks)

    @property
    def tiles_per_block(self) -> int:
        """Tiles of rows in a block when rows are split."""
        share = max(-(-self.tiles // _MOST_BLOCKS), self._batch_share(self.tiles))
        if self.k_blocks == 1:
            return share
        # Each block packs B again, and keeps its partial sums in the stage.
        most = _STAGE_ROWS // self.height
        return max(1, min(most, max(share, _PACK_ROWS // self.height)))

    @property
    def panels_per_block(self) -> int:
        """Panels of columns in a block when columns are split."""
        return max(-(-self.panels // _MOST_BLOCKS), self._batch_share(self.panels))

    def _batch_share(self, parts: int) -> int:
        """Many matrices need not be split further: as few blocks each as make 32 in all."""
        return -(-parts // max(1, _MOST_BLOCKS // self.batch))

    @property
    def blocks_per_matrix(self) -> int:
        """Blocks of each matrix of the batch."""
        if self.split == "rows":
            return -(-self.tiles // self.tiles_per_block)
        return -(-self.panels // self.panels_per_block)

    @property
    def blocks(self) -> int:
        """All blocks; kernels get ranges of them."""
        return self.batch * self.blocks_per_matrix

    @property
    def packed_elements(self) -> int:
        """Scratch for the packed panel; transposing writes whole squares."""
        packs = self.pack and not self.panels_given
        return (self.k_block + self.lanes) * self.panel_columns if packs else 0

    @property
    def stage_rows(self) -> int:
        """Rows of accumulators kept in scratch for the epilogue or the next block of K."""
        return max(_STAGE_ROWS, self.height) if self.k_blocks > 1 else self.height

    @property
    def scratch(self) -> int:
        """Bytes of scratch a thread needs, 64-byte aligned."""
        elements = self.packed_elements + self.stage_rows * self.panel_columns
        return -(-elements * ITEM_BYTES[self.dtype] // 64) * 64


@functools.lru_cache(maxsize=1024)
def plan_matmul(
    target: Target,
    m: int,
    n: int,
    k: int,
    dtype: str,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    batch: int = 1,
    split: Split | None = None,
    panels_given: bool = False,
) -> MatMulPlan:
    """Choose tiles, packing and blocks for ``(m, k) @ (k, n)``, all at least 1.

    ``split`` says whether blocks are of rows or of columns; None: whichever packs B least often.

    >>> from needle.compiler.target import named
    >>> plan = plan_matmul(named("skylake-avx512"), 50, 100, 784, "float32")
    >>> plan.lanes, plan.panels, plan.height, plan.tiles, plan.tall_tiles, plan.blocks
    (16, 2, 6, 9, 5, 9)
    """
    lanes = target.lanes(dtype)
    height, vectors = _tile_shape(target, m, -(-n // lanes), k)
    panel_bytes = vectors * lanes * ITEM_BYTES[dtype]
    k_blocks = -(-k * panel_bytes // (target.l2 // 2))
    pack = panels_given or _packs(target, m, n, k, dtype, transpose_b) or k_blocks > 1
    if transpose_a and pack and k > 2 * _TALL:
        k_blocks = max(k_blocks, -(-k // _TALL))
    if split is None:
        enough = (2 if k_blocks > 1 else 4) * vectors * lanes
        split = "columns" if panels_given or (pack and n >= enough) else "rows"
    return MatMulPlan(m, n, k, batch, dtype, transpose_a, transpose_b, split,
                      lanes, height, vectors, pack, k_blocks, panels_given)  # fmt: skip


def _packs(target: Target, m: int, n: int, k: int, dtype: str, transpose_b: bool) -> bool:
    """Whether B's panels are copied: always where vectors cannot be loaded from it."""
    item = ITEM_BYTES[dtype]
    if transpose_b or (n % target.lanes(dtype) and not target.has_mask(dtype)):
        return True
    # Rows of B whose distance is a multiple of 512 bytes fall into few cache sets.
    conflicts = n * item % 512 == 0 and k >= 64
    return m >= 32 and (conflicts or n * k * item > target.l2)


def _tile_shape(target: Target, m: int, column_vectors: int, k: int) -> tuple[int, int]:
    """Height and width (in vectors) of the tile with the fewest cycles for the whole product."""
    height, vectors = min(
        tile_shapes(target), key=lambda shape: tile_cycles(shape, m, column_vectors, k)
    )
    return -(-m // -(-m // height)), vectors


def tile_shapes(target: Target) -> list[tuple[int, int]]:
    """The heights and widths (in vectors) of tiles that fit the registers."""
    factors = 1 if target.vector_bits > 128 else 4  # registers for elements of A, loaded ahead
    return [
        (height, vectors)
        for vectors in range(1, 5)
        for height in range(1, 17)
        if height * vectors + vectors + factors <= target.registers
    ]


def tile_cycles(shape: tuple[int, int], m: int, column_vectors: int, k: int) -> float:
    """Two multiply-adds and two loads a cycle, four cycles from one sum to the next."""
    vectors = min(shape[1], column_vectors)
    tiles = -(-m // shape[0])
    height = m / tiles
    total = 0.0
    for width in [vectors] * (column_vectors // vectors) + [column_vectors % vectors]:
        if width:
            step = max(height * width / 2, (height + width) / 2 * 1.1, 4.0)
            total += tiles * (k * step + 10 + 2 * height * width)
    return total
