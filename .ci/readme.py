"""Print a part of the README, so that CI runs what people read: python .ci/readme.py tour | test | example."""

import re
import sys
from pathlib import Path

readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
fences = re.findall(r"```(bash|python)\n(.*?)```", readme, flags=re.DOTALL)
bash, python = ([text for language, text in fences if language == wanted] for wanted in ("bash", "python"))
parts = {
    "tour": next(x for x in bash if "sparsevis tour" in x),
    "test": next(x for x in bash if "pytest" in x),
    "example": python[0],
}
print(parts[sys.argv[1]])
