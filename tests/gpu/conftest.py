"""Scripts and helpers for GPUs: nothing here is collected, and some need greenlet or a device to be imported."""

collect_ignore_glob = ["*.py"]
