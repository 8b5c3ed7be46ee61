# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role metrics on a mock hypervisor, and what Prometheus' own promtool says of it. No lab needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from .playbook_run import Run, run

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/metrics"


@pytest.fixture(scope="module")
def promtool() -> str:
    found = subprocess.run([ROOT / "dev/gates/promtool"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or pytest.skip("there is no promtool; install Debian's package prometheus")


def tell(folder: Path, *, check: bool = False, **variables: str) -> Run:
    fixture = ROOT / "tests/fixtures/mock/fleet.json"
    (folder / "state.json").write_text(fixture.read_text())
    (folder / "play.yml").write_text(
        json.dumps([{"hosts": "all", "gather_facts": False, "roles": ["limiquantix.kvm.metrics"]}])
    )
    given = {"metrics_backend": "mock", "metrics_mock_path": str(folder / "state.json"), "metrics_dir": str(folder)}
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = folder / "inventory.yml"
    inventory.write_text(json.dumps({"all": {"hosts": {"hv": {**local, **given, **variables}}}}))
    return run(["ansible-playbook", str(folder / "play.yml"), *(["--check"] if check else [])], inventory)


def test_promtool_accepts_what_node_exporter_is_told(tmp_path: Path, promtool: str) -> None:
    done = tell(tmp_path)
    assert (done.status, "changed=0" in done.output) == (0, True), done.output
    file = tmp_path / "limiquantix_kvm.prom"
    assert file.stat().st_mode & 0o777 == 0o644
    assert file.read_text().count("limiquantix_kvm_vm_readable{") == 5
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=file.read_text(), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_nothing_but_the_file_ever_has_a_name_that_node_exporter_reads(tmp_path: Path) -> None:
    """The module copy writes beside a file, to a name with the same ending, where the temporary files are on another disk."""
    assert tell(tmp_path).status == 0
    tasks = yaml.safe_load((ROLE / "tasks/main.yml").read_text())
    written = [task["ansible.builtin.copy"]["dest"] for task in tasks if "ansible.builtin.copy" in task]
    assert written == ["{{ metrics_dir }}/{{ metrics_file }}.new"]
    assert sorted(path.name for path in tmp_path.glob("*.prom*")) == ["limiquantix_kvm.prom"]


def test_in_check_mode_nothing_is_written(tmp_path: Path) -> None:
    assert tell(tmp_path, check=True).status == 0
    assert list(tmp_path.glob("*.prom*")) == []


def test_what_a_host_told_last_stays_when_it_cannot_be_read(tmp_path: Path) -> None:
    before = tmp_path / "limiquantix_kvm.prom"
    before.write_text("what it told last\n")
    assert tell(tmp_path, metrics_mock_path=str(tmp_path / "none.json")).status != 0
    assert before.read_text() == "what it told last\n"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"metrics_dir": "/no/such"}, "There is no directory /no/such. Install node_exporter"),
        ({"metrics_file": "a.txt"}, "metrics_file must end in .prom, and is a.txt."),
    ],
)
def test_a_file_that_node_exporter_would_not_read_is_refused(tmp_path: Path, given: dict[str, str], says: str) -> None:
    done = tell(tmp_path, **given)
    assert (done.status != 0, says in " ".join(done.output.split())) == (True, True), done.output


def test_promtool_accepts_the_alert_rules(promtool: str) -> None:
    checked = subprocess.run(
        [promtool, "check", "rules", ROLE / "files/alerts.yml"], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, "8 rules found" in checked.stdout) == (0, True), checked.stdout + checked.stderr


BORDERS = """
rule_files: [{rules}]
evaluation_interval: 1h
tests:
  - interval: 1h
    input_series:
      - {{series: 'limiquantix_kvm_last_success_timestamp_seconds{{instance="hv"}}', values: '0x800'}}
      - {{series: 'limiquantix_kvm_vm_snapshot_oldest_timestamp_seconds{{vm="old"}}', values: '0x800'}}
      - {{series: 'limiquantix_kvm_image_filesystem_free_bytes{{path="/five"}}', values: '50000000000x800'}}
      - {{series: 'limiquantix_kvm_image_filesystem_size_bytes{{path="/five"}}', values: '1000000000000x800'}}
      - {{series: 'limiquantix_kvm_image_filesystem_free_bytes{{path="/four"}}', values: '49999999999x800'}}
      - {{series: 'limiquantix_kvm_image_filesystem_size_bytes{{path="/four"}}', values: '1000000000000x800'}}
      - {{series: 'limiquantix_kvm_image_filesystem_free_bytes{{path="/none"}}', values: '0x800'}}
      - {{series: 'limiquantix_kvm_image_filesystem_size_bytes{{path="/none"}}', values: '0x800'}}
      - {{series: 'limiquantix_kvm_vm_chain_layers{{vm="a",disk="vda"}}', values: '19x800'}}
      - {{series: 'limiquantix_kvm_vm_chain_layers{{vm="a",disk="vdb"}}', values: '20x800'}}
      - {{series: 'limiquantix_kvm_vm_problems{{vm="a"}}', values: '0x800'}}
      - {{series: 'limiquantix_kvm_vm_readable{{vm="a"}}', values: '1x800'}}
    promql_expr_test:
"""
FIRING = """
      - expr: count by (alertname) (ALERTS{{alertstate="firing"}})
        eval_time: {time}
        exp_samples: [{samples}]
"""


def test_alerts_are_true_at_their_borders(tmp_path: Path, promtool: str) -> None:
    """At 6 hours, 30 days, 5 % and 20 layers: not a moment, byte or layer before; nothing of what is whole or empty."""
    always = {"KvmImageFilesystemNearlyFull": 1, "KvmChainDeep": 1}
    text = BORDERS.format(rules=ROLE / "files/alerts.yml")
    for time, more in (("6h", ()), ("7h", ["NotRead"]), ("720h", ["NotRead"]), ("721h", ["NotRead", "Old"])):
        firing = {**always, **{f"KvmSnapshots{one}".replace("sOld", "Old"): 1 for one in more}}
        told = [f"{{labels: '{{alertname=\"{name}\"}}', value: {number}}}" for name, number in firing.items()]
        text += FIRING.format(time=time, samples=", ".join(told))
    (tmp_path / "borders.yml").write_text(text)
    words = [promtool, "test", "rules", str(tmp_path / "borders.yml")]
    checked = subprocess.run(words, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_alerts_ask_for_metrics_that_there_are() -> None:
    told = (ROOT / "plugins/plugin_utils/metrics.py").read_text()
    rules = yaml.safe_load((ROLE / "files/alerts.yml").read_text())["groups"][0]["rules"]
    named = {word for rule in rules for word in rule["expr"].split() if word.startswith("limiquantix_kvm_")}
    assert len(named) == 9
    assert [word for word in named if f'"{word.replace("limiquantix_kvm_", "")}": "' not in told] == []


def test_the_specification_has_the_defaults_of_the_role() -> None:
    options = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert {name: option["default"] for name, option in options.items()} == yaml.safe_load(
        (ROLE / "defaults/main.yml").read_text()
    )
