"""A real browser for the explorer's tests: Debian's Chromium driven by playwright, or a skip that says what is missing."""

import shutil

import pytest

collect_ignore = ["lab.py", "pages.py"]                  # no tests, and what they import may be absent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="session")
def chromium():
    """One browser for all tests of the session."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no browser: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason='no browser driver: pip install "sparsevis[browser]"')
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def window(chromium):
    """Open pages; what they ask of a network, and what breaks in them, is kept: nothing may break but in pages known to be broken."""
    opened, broken = [], []

    def window(*, dark=False, offline=True, size=(1200, 900), broken_pages=False):
        context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light")
        context.set_offline(offline)
        page = context.new_page()
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: None if broken_pages else broken.append(f"{error}\n{error.stack}"))
        opened.append(context)
        return page

    yield window
    for context in opened:
        context.close()
    assert broken == []
