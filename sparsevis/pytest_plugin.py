"""A kernel's conformance as tests: pytest --sparsevis-kernel my_package.kernels:attention --sparsevis-dialect flash

One test a call, named by its family and number; a call that the kernel's dialect cannot say is skipped, and a run in which every call is
skipped fails. Nothing of sparsevis is loaded in runs without the option.
"""

import pytest

__all__ = ["pytest_addoption", "pytest_collection_modifyitems", "pytest_sessionfinish"]


def pytest_addoption(parser):
    """The options."""
    group = parser.getgroup("sparsevis", "conformance of an attention kernel")
    group.addoption("--sparsevis-kernel", metavar="MODULE:FUNCTION", help="test fn(q, k, v, ...) against the golden reference")
    group.addoption("--sparsevis-backward", metavar="MODULE:FUNCTION", help="its gradients; autograd for those of PyTorch or JAX")
    group.addoption("--sparsevis-dialect", metavar="NAME", help="its conventions, such as flash")
    group.addoption("--sparsevis-arrays", metavar="NAME", help="numpy, torch, torch:cuda, jax or cupy")
    group.addoption("--sparsevis-dtype", metavar="NAME", default="float32", help="of the inputs")
    group.addoption("--sparsevis-level", metavar="LEVEL", default="quick", help="quick, full or adversarial")
    group.addoption("--sparsevis-isolate", action="store_true", help="run the kernel in a process of its own")
    group.addoption("--sparsevis-timeout", metavar="S", type=float, default=60.0, help="seconds a call may take there")


def pytest_collection_modifyitems(session, config, items):
    """Add the calls to the tests that were found."""
    if not config.getoption("--sparsevis-kernel"):
        return
    from sparsevis import golden

    try:
        judge = _judge(config, golden)
        asked = golden.calls(config.getoption("--sparsevis-level"))
    except (ValueError, TypeError, ImportError) as error:
        raise pytest.UsageError(f"--sparsevis-kernel: {error}") from None
    kernel = Kernel.from_parent(session, name=config.getoption("--sparsevis-kernel"), nodeid=config.getoption("--sparsevis-kernel"))
    kernel.judge = judge
    for family, some in asked.items():
        items += [Item.from_parent(kernel, name=f"{family} {i}", call=call, family=family) for i, call in enumerate(some)]
    config.add_cleanup(judge.ask.close)


def _judge(config, golden):
    from sparsevis.golden.check import judge_of
    from sparsevis.golden.target import target

    said = lambda name: config.getoption(f"--sparsevis-{name}")  # noqa: E731
    fn = target(said("kernel"))
    backward = said("backward") and (golden.autograd(fn) if said("backward") == "autograd" else target(said("backward")))
    words = {name: said(name) for name in ("dialect", "arrays", "dtype", "isolate", "timeout")}
    return judge_of(fn, backward=backward, **words)


class Kernel(pytest.Collector):
    """The kernel under test."""

    def collect(self):
        """Its items are made by `pytest_collection_modifyitems`."""
        return []


class Item(pytest.Item):
    """One call."""

    def __init__(self, *, call, family, **kwargs):
        super().__init__(**kwargs)
        self.call, self.family = call, family

    def runtest(self):
        """Ask it, and judge the answer."""
        outcome = self.parent.judge(self.call, self.family)
        if outcome.status == "unsupported":
            pytest.skip(f"not supported: {outcome.reason}")
        if outcome.status == "fail":
            raise Failure(outcome, self.parent.judge)

    def repr_failure(self, excinfo, style=None):
        """The call, what is wrong, and what explains it, instead of a traceback."""
        if not isinstance(excinfo.value, Failure):
            return super().repr_failure(excinfo, style)
        return str(excinfo.value)

    def reportinfo(self):
        """Where the call stands."""
        return self.path, None, f"{self.parent.name} {self.name}: {self.call!r}"


class Failure(Exception):
    """A failing call in words."""

    def __init__(self, outcome, judge):
        from sparsevis.golden.diagnose import diagnose
        from sparsevis.golden.picture import written

        found = diagnose([outcome], judge)
        words = [f"diagnosis: {found[0][0]}"] if found and outcome.deviations else []
        super().__init__("\n".join([repr(outcome.call), outcome.reason, *words, *written(outcome)]))


def pytest_sessionfinish(session, exitstatus):
    """Nothing that could be tested is no success."""
    kernel = session.config.getoption("--sparsevis-kernel")
    ours = [item for item in session.items if isinstance(item, Item)] if kernel else []
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not ours or reporter is None or exitstatus != 0 or session.config.option.collectonly:
        return
    passed = {report.nodeid for report in reporter.stats.get("passed", [])}
    if not passed & {item.nodeid for item in ours}:
        reporter.write_line(f"{kernel}: none of {len(ours)} calls could be said in its dialect, so nothing was tested", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
