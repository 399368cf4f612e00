"""The command line: what it prints, what it writes, and how it says no."""

import json
import re
import subprocess
import sys

import pytest
from PIL import Image

import sparsevis as sv
from sparsevis.__main__ import main


def refused(capsys, *argv):
    """The one line that wrong input gets."""
    try:
        code = main(list(argv))
    except SystemExit as stop:  # argparse leaves this way
        code = stop.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    return err


def test_list_names_every_pattern(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in ("SlidingWindow(left: int | None, right: int | None = 0)", "longformer(window=512", "RandomBlocks(", "streaming_llm("):
        assert name in out
    shown = [line for line in out.splitlines() if not line.startswith(" ")]
    assert len(shown) == 20
    assert all(line.strip() for line in out.splitlines())


@pytest.mark.parametrize("name", ["SlidingWindow", "sliding_window", "sliding-window", "slidingwindow"])
def test_show_prints_the_pattern(capsys, name):
    assert main(["show", name, "--left", "1", "--n", "4"]) == 0
    assert capsys.readouterr().out == sv.SlidingWindow(1).describe(4) + "\n"


def test_show_takes_lists_words_and_equal_signs(capsys):
    assert main(["show", "global", "--tokens=0,-1", "--columns", "False", "--n", "5"]) == 0
    assert capsys.readouterr().out.startswith(repr(sv.Global([0, -1], columns=False)))
    assert main(["show", "random-blocks", "--block", "64", "--blocks-per-row", "3", "--plan", "published", "--n", "1,024"]) == 0
    assert "at n = 1,024" in capsys.readouterr().out


def test_show_prints_every_head(capsys):
    assert main(["show", "sparse_transformer_fixed", "--stride", "4", "--summary", "1", "--n", "8"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("head 0: Causal() & Chunked(size=4)")
    assert "head 1: Causal() & Fixed(stride=4, group=False)" in out


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("b/a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_show_writes_a_picture(tmp_path, capsys, name, start):
    assert main(["show", "longformer", "--window", "4", "--n", "16", "-o", str(tmp_path / name)]) == 0
    assert (tmp_path / name).read_bytes().startswith(start)
    assert "at n = 16" in capsys.readouterr().out


def test_show_writes_all_heads(tmp_path):
    assert main(["show", "sparse_transformer_strided", "--stride", "4", "--n", "16", "-o", str(tmp_path / "a.svg")]) == 0
    assert "head 1" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["show", "longforme"], "did you mean longformer?"),
        (["show", "xyzzy"], "see sparsevis list"),
        (["show", "chosen"], "no pattern is called 'chosen'"),
        (["show", "strided"], "needs --stride VALUE"),
        (["show", "strided", "--strid", "4"], "it has stride"),
        (["show", "strided", "--stride"], "--stride needs a value"),
        (["show", "strided", "4"], "'4' is not expected"),
        (["show", "strided", "--stride", "-4"], "stride is -4"),
        (["show", "strided", "--stride", "four"], "stride is 'four'"),
        (["show", "causal", "--n", "0"], "'0' is no length"),
        (["show", "causal", "--n", "many"], "'many' is no length"),
        (["show", "global", "--tokens", "9", "--n", "4"], "from -4 to 3"),
        (["show", "causal", "-o", "a.docx"], "end in .png, .svg, .pdf or .html"),
        (["cost", "causal", "-o", "a"], "end in .png, .svg, .pdf or .html"),
        (["cost", "causal", "--n", "8k..9k"], "twice the first"),
        (["cost", "causal", "--head-dim", "0"], "head_dim"),
        (["receptive", "mistral", "--layers", "-1"], "-1 layers"),
        (["receptive", "mistral", "--query", "9", "--n", "4"], "from -4 to 3"),
        (["receptive", "mistral", "--query", "some"], "'some'"),
        (["lint", "mistral", "--windw", "4"], "it has window"),
        (["animate", "mistral", "-o", "a.png"], "end in .gif or .html or .mp4"),
        (["animate", "mistral"], "-o/--output"),
        (["animate", "mistral", "--sweep", "window=2", "-o", "a.gif"], "window=2..24"),
        (["diff", "causal", "Causal() +", "--n", "8"], "is no pattern"),
        (["compare", "causal", "chunked"], "needs --size VALUE"),
        (["compare", "causal", "--layer", "1"], "no layer 1"),
        (["show", "causal", "-o", "/dev/null/x/a.png"], "/dev/null/x"),
        (["list", "more"], "more"),
        (["bench", "more"], "more"),
        (["bench", "--case", "denes"], "no case is called 'denes'; there are ladder, window-256"),
        (["lst"], "invalid choice: 'lst'"),
        ([], "COMMAND"),
    ],
)
def test_wrong_input_gets_one_helpful_line(capsys, argv, words):
    assert words in refused(capsys, *argv)


@pytest.mark.parametrize("ending", [".svg", ".html"])
@pytest.mark.parametrize(("argv", "printed", "drawn"), [
    (["show", "mistral", "--window", "4", "--n", "16"], "SlidingWindow(left=3)", "window"),
    (["cost", "mistral", "--window", "64", "--n", "128..1k"], "1,024", "mistral"),
    (["cost", "bigbird(block=16)", "--n", "256"], "block tax", "bigbird(block=16)"),
    (["receptive", "mistral", "--window", "4", "--layers", "3", "--n", "32"], "closed form: 1 + 3 l", "10 of 32"),
    (["receptive", "gemma3", "--layers", "6", "--window", "4", "--n", "64", "--query", "all"], "all 64 queries", "layers"),
    (["diff", "mistral(8)", "SlidingWindow(8)", "--n", "32"], "b has one key a query more on the left", "only in b"),
    (["compare", "mistral(64)", "Causal() & Chunked(128)"], "mass kept", "mistral(64)"),
])  # fmt: skip
def test_commands_print_and_draw(tmp_path, capsys, argv, printed, drawn, ending):
    file = tmp_path / "new" / f"a{ending}"
    assert main([*argv, "-o", str(file)]) == 0
    assert printed in capsys.readouterr().out
    text = file.read_text()
    assert drawn.lower() in text.lower()
    assert text.startswith("<?xml" if ending == ".svg" else "<!doctype html>")
    assert ending == ".svg" or not re.findall(r"""(?:src|href)=["'](?!#|data:)""", text)


@pytest.mark.parametrize(("argv", "frames"), [
    (["animate", "mistral", "--window", "4", "--n", "16", "--layers", "2"], 3),
    (["animate", "mistral", "--window", "6", "--n", "16", "--tiles"], 3),
    (["animate", "mistral", "--n", "12", "--sweep", "window=2..5"], 4),
])  # fmt: skip
def test_animate_writes_a_film(tmp_path, capsys, argv, frames):
    assert main([*argv, "-o", str(tmp_path / "new" / "a.gif")]) == 0
    assert "frames" in capsys.readouterr().out
    with Image.open(tmp_path / "new" / "a.gif") as film:
        assert film.n_frames >= frames
    assert main([*argv, "-o", str(tmp_path / "a.html")]) == 0
    assert "data:image/png" in (tmp_path / "a.html").read_text()


def test_cost_measures(tmp_path, capsys):
    assert main(["cost", "mistral", "--window", "64", "--n", "256..512", "--heads", "1", "--measure", "-o", str(tmp_path / "a.svg")]) == 0
    assert "promised" in capsys.readouterr().out


def test_lint_has_an_exit_code(capsys):
    assert main(["lint", "mistral", "--window", "8", "--n", "64", "--tile", "4"]) == 0
    assert main(["lint", "longformer", "--window", "8", "--n", "64", "--causal"]) == 1
    assert "error" in capsys.readouterr().out


def test_info_says_what_a_bug_report_needs(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for word in (sv.__version__, "Python", "numba", "threads", "GPU"):
        assert word in out


def test_bench_lists_what_there_is_to_run(capsys):
    assert main(["bench", "--list"]) == 0
    out = capsys.readouterr().out
    assert "window-256" in out
    assert "PyTorch FlexAttention" in out


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"sparsevis {sv.__version__}\n"


def test_as_a_module_and_into_a_closed_pipe():
    done = subprocess.run(
        f"{sys.executable} -W error -m sparsevis list | head -n 1", shell=True, capture_output=True, text=True, check=True
    )
    assert done.stdout == "Causal()\n"
    assert done.stderr == ""


# ---------------------------------------------------------------- golden


KERNEL = "tests.golden.misbehaving:plain"


def test_golden_check_prints_and_writes_a_report(tmp_path, capsys):
    assert main(["golden", "check", KERNEL, "--json", str(tmp_path / "a/r.json"), "--html", str(tmp_path / "r.html")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("plain: conforms.")
    found = json.loads((tmp_path / "a/r.json").read_text())
    assert found["ok"] is True
    assert found["counts"]["pass"] > 150
    assert "<svg" not in (tmp_path / "r.html").read_text()  # nothing failed


def test_golden_check_of_a_wrong_kernel(tmp_path, capsys):
    page = tmp_path / "r.html"
    assert main(["golden", "check", "tests.golden.test_adapters:one_key_more", "--dialect", "flash", "--html", str(page)]) == 1
    assert "diagnosis: window one key longer on the left" in capsys.readouterr().out
    assert "<svg" in page.read_text()


def test_golden_check_with_gradients_in_a_process_of_its_own(capsys):
    assert main(["golden", "check", KERNEL, "--backward", "tests.golden.misbehaving:gradients", "--isolate"]) == 0
    assert capsys.readouterr().out.startswith("plain: conforms.")


def test_golden_check_says_no(tmp_path, capsys):
    assert "misbehaving has no 'nope'" in refused(capsys, "golden", "check", "tests.golden.misbehaving:nope")
    assert "names no function" in refused(capsys, "golden", "check", "tests.golden.misbehaving")
    assert "no dialect is called 'flsh'" in refused(capsys, "golden", "check", KERNEL, "--dialect", "flsh")
    assert "level='core': needs one of" in refused(capsys, "golden", "check", KERNEL, "--level", "core")
    assert "needs to end in .html" in refused(capsys, "golden", "check", KERNEL, "--html", str(tmp_path / "a.txt"))
    assert "Say Dialect" in refused(capsys, "golden", "check", "tests.golden.test_adapters:one_key_more")
