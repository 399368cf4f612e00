"""A real Jupyter server with one notebook, in a process and in folders of its own."""

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from urllib.request import urlopen

import nbformat

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}


@contextmanager
def server(folder, cells, application="lab"):
    """Give the address of a Jupyter application ("lab", "notebook" or "voila") that serves a notebook of these cells as a.ipynb."""
    notebook = nbformat.v4.new_notebook(metadata=KERNEL, cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, folder / "a.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = f"http://127.0.0.1:{port}"
    options = ["--no-browser", f"--port={port}"]
    if application == "voila":
        command = ["-m", "voila", "a.ipynb", *options]
    else:
        command = ["-m", "jupyter", application, *options, "--ip=127.0.0.1", "--allow-root", "--IdentityProvider.token=",
                   "--LabApp.news_url=", "--ServerApp.disable_check_xsrf=True"]  # fmt: skip
        command += [f"--{'LabApp' if application == 'lab' else 'JupyterNotebookApp'}.expose_app_in_browser=True"]
    own = {name: str(folder / "jupyter") for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    with subprocess.Popen([sys.executable, *command], cwd=folder, env=os.environ | own, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:  # fmt: skip
        try:
            for _ in range(240):
                with suppress(OSError), urlopen(home + ("/" if application == "voila" else "/api/status"), timeout=60):
                    break
                time.sleep(0.25)
            else:
                raise RuntimeError(f"jupyter {application} did not answer at {home}")
            yield home
        finally:
            process.terminate()
            process.wait(20)
