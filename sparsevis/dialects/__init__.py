"""What other libraries call it: their windows, alignments and masks, read as patterns, and patterns written in their words.

    DIALECTS["flash-attn"].pattern(window_size=(3, 0), causal=True)      their arguments -> our pattern
    DIALECTS["flash-attn"].mask(4, 9, causal=True)                       the mask, in their alignment
    DIALECTS["flash-attn"].arguments(sv.SlidingWindow(3))                our pattern -> their arguments
    explain(sv.SlidingWindow(3))                                         one pattern in every dialect
    flex_mask_mod(pattern, n), block_mask(pattern, n), splash_mask(pattern, n), csr(pattern, n)   exports

A dialect names the version it describes. Where a library cannot say a pattern, `Unsayable` says why.
"""

from sparsevis.dialects.blocks import natten_rows as natten_rows
from sparsevis.dialects.dialect import Code as Code
from sparsevis.dialects.dialect import Dialect as Dialect
from sparsevis.dialects.explained import DIALECTS as DIALECTS
from sparsevis.dialects.explained import Explained as Explained
from sparsevis.dialects.explained import explain as explain
from sparsevis.dialects.exports import block_mask as block_mask
from sparsevis.dialects.exports import bsr as bsr
from sparsevis.dialects.exports import csr as csr
from sparsevis.dialects.exports import flashmask_rows as flashmask_rows
from sparsevis.dialects.exports import save_dense as save_dense
from sparsevis.dialects.mask_mod import MaskMod as MaskMod
from sparsevis.dialects.mask_mod import flex_mask_mod as flex_mask_mod
from sparsevis.dialects.rule import Rule as Rule
from sparsevis.dialects.rule import Unsayable as Unsayable
from sparsevis.dialects.splash import splash_mask as splash_mask
