"""`python -m benchmarks [NAME ...]`: runs the benchmarks named, or all, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HELPERS = {"__init__", "__main__", "measure"}


def main() -> None:
    """Runs them in turn; exits 1 where one is above its limit."""
    folder = Path(__file__).parent
    known = sorted(path.stem for path in folder.glob("*.py") if path.stem not in HELPERS)
    wanted = sys.argv[1:] or known
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    failed = [name for name in wanted if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode]
    if failed:
        sys.exit(f"above the limit: {', '.join(failed)}")


if __name__ == "__main__":
    main()
