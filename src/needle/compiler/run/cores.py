"""This machine: how many cores may be used."""

from __future__ import annotations

import functools
import os
from pathlib import Path


def usable_cores() -> int:
    """Cores this process may use: its affinity, and the cgroup's quota rounded down; at least 1.

    >>> from needle.compiler.run.cores import usable_cores
    >>> usable_cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, int(min(cores, _quota())))


@functools.cache
def _quota() -> float:
    """Read once: containers set it before the process starts."""
    return cgroup_quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))


def cgroup_quota(membership: Path, root: Path) -> float:
    """The smallest CPU quota, in cores, of a process's cgroups (v1 and v2) and their parents.

    `membership` has lines like ``4:cpu,cpuacct:/job`` (v1) and ``0::/job`` (v2). In a container the
    paths may not exist below `root`; then the folder itself counts. Infinite without a quota.
    """
    quotas = [float("inf")]
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folders = [root, root / "unified"]
        elif "cpu" in controllers.split(","):
            folders = [root / controllers, root / "cpu"]
        else:
            continue
        quotas += [_folder_quota(step) for folder in folders for step in _ancestors(folder, path)]
    return min(quotas)


def _ancestors(folder: Path, path: str) -> list[Path]:
    parts = [part for part in path.split("/") if part and part != ".."]
    return [folder.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]


def _folder_quota(folder: Path) -> float:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8").strip()
        limit = float("inf") if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        return float("inf")
    return limit if limit > 0 else float("inf")
