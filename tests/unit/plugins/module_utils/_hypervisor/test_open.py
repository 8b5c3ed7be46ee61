# Copyright (c) 2026, the limiquantix.kvm founders
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shared options: what they default to, and numbers that make no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.mock.hypervisor import MockHypervisor
from ansible_collections.limiquantix.kvm.plugins.module_utils._hypervisor.open import (
    check_limits,
    hypervisor_arguments,
    hypervisor_requirements,
    open_hypervisor,
)
from ansible_collections.limiquantix.kvm.plugins.module_utils._values.errors import KvmError
from ansible_collections.limiquantix.kvm.tests.unit.plugins.module_utils.values import state_file


def test_no_secret_is_logged_and_a_path_is_none() -> None:
    arguments = hypervisor_arguments()
    assert arguments["token"]["no_log"] is True
    assert arguments["client_key"]["no_log"] is False
    assert {option for option, spec in arguments.items() if "fallback" in spec} == {
        "url",
        "ca_path",
        "client_cert",
        "client_key",
        "token",
    }


def test_what_a_backend_needs_is_one_of_its_options() -> None:
    arguments = hypervisor_arguments()
    for option, backend, needed in hypervisor_requirements():
        assert backend in arguments[option]["choices"]
        assert set(needed) <= set(arguments)


@pytest.mark.parametrize("option", ["parallel", "timeout", "quiesce_timeout", "http_timeout"])
def test_a_number_below_one_is_refused(option: str) -> None:
    check_limits({option: 1})
    with pytest.raises(KvmError, match=option) as refused:
        check_limits({option: 0})
    assert refused.value.error_code == "bad_request"


def test_the_backend_that_is_named_is_opened(tmp_path: Path) -> None:
    assert isinstance(open_hypervisor({"backend": "mock", "mock_path": state_file(tmp_path)}), MockHypervisor)
