"""Give ansible-test a way to put pip into its environments where its own download host cannot be reached.

ansible-test fetches get-pip into ~/.ansible/test/cache and stops when it cannot. A stand-in of the same name does as
well: it unpacks the pip that every Python carries (ensurepip) and lets that one install the wanted version.
Run with the Python of the environment whose ansible-test is meant: version, address and place come from its sources.
"""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path
from types import SimpleNamespace

from ansible_test import _util
from ansible_test._internal.python_requirements import get_venv_packages

STAND_IN = '''\
"""Written by limiquantix.kvm's dev/gates/pip_bootstrap.py, because get-pip could not be downloaded."""

import subprocess
import sys

code = subprocess.call([sys.executable, "-m", "ensurepip", "--default-pip"])
code = code or subprocess.call([sys.executable, "-m", "pip", "install", "pip=={version}"])
sys.exit(code)
'''


def reachable(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):  # noqa: S310  (an https address out of ansible-test's sources)
            return True
    except OSError:
        return False


def main() -> None:
    source = Path(_util.__file__).with_name("target") / "setup" / "requirements.py"
    text = source.read_text(encoding="utf-8")
    (url,) = re.findall(r"'(https://\S+get-pip-%s\.py)' % pip_version", text)
    (place,) = re.findall(r"expanduser\('(\S+get_pip_%s\.py)' % pip_version\.replace", text)

    version = get_venv_packages(SimpleNamespace(version="3.12"))["pip"]
    target = Path(place % version.replace(".", "_")).expanduser()
    if not target.exists() and not reachable(url % version):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(STAND_IN.format(version=version), encoding="utf-8")


if __name__ == "__main__":
    main()
