"""Install the packages of a lock file into the running environment, showing progress; then this project.

.venv/bin/python tools/install.py requirements.lock
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def install(lock: Path) -> int:
    """Install the packages of a lock file, checking their hashes; return pip's exit code."""
    total = sum("==" in line and not line.startswith(" ") for line in lock.read_text().splitlines())
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--require-hashes", "--progress-bar=off", "-r", str(lock)]
    terminal = sys.stdout.isatty()
    began, lines, done = time.monotonic(), list[str](), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            lines.append(line)
            if line.startswith(("Collecting ", "Requirement already satisfied: ")):
                done += 1
                name = line.removeprefix("Collecting ").removeprefix("Requirement already satisfied: ")
                said = f"  {done} of {total}  {name.split('==')[0].split()[0]}"
                if terminal:
                    print(f"\r{said:<60}", end="", flush=True)
                elif done % 20 == 0:
                    print(said, flush=True)
            elif line.startswith("Installing collected") and terminal:
                print(f"\r{'  unpacking':<60}", end="", flush=True)
    if terminal:
        print("\r" + " " * 60 + "\r", end="")
    if pip.returncode:
        print("".join(lines[-30:]), file=sys.stderr)
    else:
        print(f"  {total} packages in {time.monotonic() - began:.0f} s")
    return pip.returncode


def install_ourselves() -> int:
    """Install the command kalshi-bus and our packages, as an editable install of this checkout."""
    command = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    return subprocess.run(
        [*command, "--no-deps", "--no-build-isolation", "-e", str(ROOT)], check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(install(Path(sys.argv[1])) or install_ourselves())
