"""The vocabulary: every pattern, a family a file, and the published systems composed from them."""

from sparsevis.patterns.causal import Causal as Causal
from sparsevis.patterns.causal import Dense as Dense
from sparsevis.patterns.causal import PrefixLM as PrefixLM
from sparsevis.patterns.chosen import Chosen as Chosen
from sparsevis.patterns.document import Documents as Documents
from sparsevis.patterns.global_ import Global as Global
from sparsevis.patterns.global_ import Sink as Sink
from sparsevis.patterns.local import BlockWindow as BlockWindow
from sparsevis.patterns.local import Chunked as Chunked
from sparsevis.patterns.local import SlidingWindow as SlidingWindow
from sparsevis.patterns.named import bigbird as bigbird
from sparsevis.patterns.named import longformer as longformer
from sparsevis.patterns.named import mistral as mistral
from sparsevis.patterns.named import sparse_transformer_fixed as sparse_transformer_fixed
from sparsevis.patterns.named import sparse_transformer_strided as sparse_transformer_strided
from sparsevis.patterns.named import streaming_llm as streaming_llm
from sparsevis.patterns.random import RandomBlocks as RandomBlocks
from sparsevis.patterns.random import RandomKeys as RandomKeys
from sparsevis.patterns.strided import Dilated as Dilated
from sparsevis.patterns.strided import Fixed as Fixed
from sparsevis.patterns.strided import Strided as Strided
