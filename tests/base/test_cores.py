"""Cores: those of the container, not of the machine."""

import os

import pytest

from tinyllm.base.cores import usable_cores

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("50000 100000\n", 1),
        ("100000 100000\n", 1),
        ("100001 100000\n", min(2, ALL)),
        ("90000000 100000\n", ALL),
        ("max 100000\n", ALL),
        ("0 100000\n", ALL),
        ("nonsense", ALL),
        ("", ALL),
    ],
)
def test_the_quota_of_a_container_counts(tmp_path, limit, cores):
    (tmp_path / "cpu.max").write_text(limit, encoding="ascii")
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", ALL), ("20000", 1)])
def test_the_quota_of_the_first_version_counts(tmp_path, quota, cores):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota, encoding="ascii")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n", encoding="ascii")
    assert usable_cores(tmp_path) == cores


def test_without_a_quota_the_affinity_counts(tmp_path):
    assert usable_cores(tmp_path) == ALL


def test_without_affinity_as_on_macos_all_cores_count(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores(tmp_path) == os.cpu_count()
