"""The conformance kit: is this implementation of attention right, and if not, which mistake is it?

>>> import sparsevis as sv
>>> def mine(q, k, v, mask=None, scale=None):
...     return sv.reference.attention(q, k, v, mask, scale=scale)
>>> report = sv.golden.check(mine)
>>> report.ok
True

Every element of every result is compared with the float64 reference and may be off by what the kernel's declared roundings (`Model`) can
do to these inputs, no more: there are no tolerances to choose. What the function can be asked for is read from its signature, and its
conventions are declared (`Dialect`). The kit needs NumPy alone, and knows no kernel.
"""

from sparsevis.golden import adapters as adapters
from sparsevis.golden.adapters import adapter as adapter
from sparsevis.golden.adapters import autograd as autograd
from sparsevis.golden.budget import Expected as Expected
from sparsevis.golden.budget import expect as expect
from sparsevis.golden.call import Call as Call
from sparsevis.golden.cases import calls as calls
from sparsevis.golden.check import Outcome as Outcome
from sparsevis.golden.check import check as check
from sparsevis.golden.compare import Deviation as Deviation
from sparsevis.golden.compare import compare as compare
from sparsevis.golden.dialect import Dialect as Dialect
from sparsevis.golden.model import Model as Model
from sparsevis.golden.named import NAMED as NAMED
from sparsevis.golden.report import Report as Report
from sparsevis.golden.search import search as search
from sparsevis.golden.vectors import check_vectors as check_vectors
from sparsevis.golden.vectors import write_vectors as write_vectors
