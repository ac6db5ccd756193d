"""What `import punctum` costs on top of `import torch`: median seconds over fresh processes, taken in turn.

python benchmarks/imports.py
"""

import json
import statistics
import subprocess
import sys
import time

STATEMENTS = {
    "torch": "import torch",
    "torch, punctum": "import torch, punctum",
    "torch, punctum.ops": "import torch, punctum.ops",
    "torch, punctum.model": "import torch, punctum.model",
    "torch, punctum.load": "import torch, punctum; punctum.load",
}


def seconds(statement: str) -> float:
    """Wall seconds of a fresh interpreter that runs the statement."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - began


def main(runs: int = 7) -> None:
    """Print a table, and the same as JSON."""
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(runs):
        for name, statement in STATEMENTS.items():
            times[name].append(seconds(statement))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, value in medians.items():
        print(f"{name:<24}{value:6.2f} s   + {value - medians['torch']:.2f} s")
    print(json.dumps({"median_seconds": medians, "runs": runs, "python": sys.version.split()[0]}))


if __name__ == "__main__":
    main()
