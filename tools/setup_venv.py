"""Make a virtual environment and install needle into it: what the Makefile calls, on any Python.

    python tools/setup_venv.py .venv --install ".[dev]" --editable [--constraint FILE]

Written for any Python 3, so that one that is too old gets a line and not a syntax error.
"""

import argparse
import os
import subprocess
import sys

OLDEST = (3, 11)
SAYS = (
    "Python 3.11 or newer is needed, this is {}.{}: install one, run `make PYTHON=python3.12 ...`"
)


def main():
    """Make the environment, or say in one line what is missing."""
    if sys.version_info[:2] < OLDEST:
        sys.exit(SAYS.format(*sys.version_info[:2]))
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--install", required=True)
    parser.add_argument("--editable", action="store_true")
    parser.add_argument("--constraint")
    options = parser.parse_args()
    try:
        import ensurepip  # noqa: F401  Debian ships venv apart from Python
        import venv
    except ImportError:
        sys.exit(
            "Python's venv module is missing: `sudo apt install python3-venv` on Debian or Ubuntu"
        )
    print("setting up " + options.folder + " ...", file=sys.stderr)
    venv.create(options.folder, with_pip=True)
    folder = "Scripts" if os.name == "nt" else "bin"
    command = [os.path.join(options.folder, folder, "python"), "-m", "pip", "install", "-q"]
    command += ["--disable-pip-version-check"]
    if options.constraint:
        command += ["-c", options.constraint]
    command += (["-e"] if options.editable else []) + [options.install]
    done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        sys.exit(
            "installing failed: is there a network? Without one, put wheels into a folder and run "
            "`PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER make ...`"
        )
    with open(os.path.join(options.folder, ".ready"), "w", encoding="utf-8") as mark:
        mark.write(options.install + "\n")


if __name__ == "__main__":
    main()
