import answers

import sparsevis as sv


def test_window():
    sv.check(answers.window(4), sv.mistral(4), at=12)


def test_rule():
    sv.check(answers.allowed, sv.SlidingWindow(2, 2) | sv.Global([0]))


def test_pairs():
    sv.check(answers.pairs, lambda n: sv.cost(sv.Causal(), n).nnz, at=[1, 7, 1000])
