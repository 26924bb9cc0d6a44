"""Is the ground real: does the cluster schedule, kill, requeue and contain as a site's does?"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.fixtures import needs_cgroups, unavailable
from tests.cluster.slurm import Cluster, ClusterError, why_not

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(180)]

EATS_400_MB = "python3 -c 'x = bytearray(400 << 20)'"


def submit(cluster: Cluster, folder: Path, command: str, *options: str) -> str:
    out = folder / "%A_%a.out"
    args = ["sbatch", "--parsable", f"--chdir={folder}", f"--output={out}", *options]
    return cluster.run(*args, f"--wrap={command}").strip()


def job_field(cluster: Cluster, job: str, name: str) -> str:
    found = re.search(rf"\b{name}=(\S*)", cluster.run("scontrol", "show", "job", "-o", job))
    assert found is not None
    return found.group(1)


def await_state(cluster: Cluster, job: str, state: str, timeout_s: float = 30) -> None:
    cluster.wait_until(
        f"job {job} {state}", lambda: job_field(cluster, job, "JobState") == state, timeout_s
    )


def accounted_state(cluster: Cluster, job: str) -> str:
    return cluster.run("sacct", "-X", "-n", "-P", "-j", job, "-o", "state").strip()


def test_every_node_is_idle_and_in_every_partition(cluster):
    rows = {tuple(x.split()) for x in cluster.run("sinfo", "-h", "-N", "-o", "%N %R").splitlines()}
    parts = ("main", "scavenge", "urgent")
    assert rows == {(node, part) for node in cluster.nodes for part in parts}
    assert set(cluster.node_states().values()) == {"idle"}


def test_array_runs_on_nodes_that_look_like_machines_of_their_own(cluster, tmp_path):
    job = submit(cluster, tmp_path, "hostname; sleep 1; ps -e -o comm=", "--array=0-5", "--wait")
    outputs = [(tmp_path / f"{job}_{i}.out").read_text() for i in range(6)]
    assert {text.split()[0] for text in outputs} == set(cluster.nodes)
    assert not any("slurmctld" in text for text in outputs)


def test_array_beyond_max_array_size_is_refused(cluster, tmp_path):
    assert "MaxArraySize            = 1001" in cluster.run("scontrol", "show", "config")
    submit(cluster, tmp_path, "true", "--array=0,1000")
    with pytest.raises(ClusterError, match="Invalid job array"):
        submit(cluster, tmp_path, "true", "--array=0,1001")


def test_job_beyond_its_memory_ends_out_of_memory(cluster, tmp_path):
    needs_cgroups(cluster)
    job = submit(cluster, tmp_path, EATS_400_MB, "--mem=100")
    await_state(cluster, job, "OUT_OF_MEMORY")
    assert job_field(cluster, job, "ExitCode") == "0:125"


def test_job_within_its_memory_completes(cluster, tmp_path):
    needs_cgroups(cluster)
    job = submit(cluster, tmp_path, EATS_400_MB, "--mem=600")
    await_state(cluster, job, "COMPLETED")


def test_accounting_tells_out_of_memory_from_failure_and_success(accounting_cluster, tmp_path):
    needs_cgroups(accounting_cluster)
    commands = {"OUT_OF_MEMORY": EATS_400_MB, "FAILED": "exit 3", "COMPLETED": "true"}
    jobs = {
        state: submit(accounting_cluster, tmp_path, command, "--mem=100")
        for state, command in commands.items()
    }
    for state, job in jobs.items():
        accounting_cluster.wait_until(
            f"sacct says {state}",
            lambda j=job, s=state: accounted_state(accounting_cluster, j) == s,
        )


def test_accounting_off_says_so(cluster):
    done = subprocess.run(["sacct"], env=cluster.env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "accounting storage is disabled" in done.stderr


def test_gpus_are_scheduled(accounting_cluster, cluster, tmp_path):
    job = submit(accounting_cluster, tmp_path, "echo gpus $SLURM_GPUS_ON_NODE", "--gres=gpu:1")
    await_state(accounting_cluster, job, "COMPLETED")
    out = tmp_path / f"{job}_{2**32 - 2}.out"  # what %a gives outside an array
    assert out.read_text() == "gpus 1\n"
    with pytest.raises(ClusterError, match="gres"):
        submit(cluster, tmp_path, "true", "--gres=gpu:1")


def test_urgent_job_sends_the_preempted_one_back_to_the_queue(cluster, tmp_path):
    low = submit(cluster, tmp_path, "sleep 60", "--exclusive", "--nodes=2")
    await_state(cluster, low, "RUNNING")
    high = submit(cluster, tmp_path, "true", "--partition=urgent")
    await_state(cluster, high, "COMPLETED")
    await_state(cluster, low, "PENDING")
    assert job_field(cluster, low, "Restarts") == "1"
    cluster.run("scancel", low)


def test_killed_node_takes_its_processes_along_and_its_job_is_requeued(cluster, tmp_path):
    beat = tmp_path / "beat"
    job = submit(cluster, tmp_path, f"while sleep 0.2; do date +%s%N >> {beat}; done")
    cluster.wait_until("job at work", beat.exists)
    node = job_field(cluster, job, "NodeList")
    cluster.kill_node(node)
    last_beat = beat.read_text()
    await_state(cluster, job, "PENDING", timeout_s=60)  # SlurmdTimeout and the ping period
    assert beat.read_text() == last_beat
    assert job_field(cluster, job, "Restarts") == "1"
    cluster.skip_requeue_delay(job)
    await_state(cluster, job, "RUNNING")
    assert job_field(cluster, job, "NodeList") != node
    cluster.run("scancel", job)
    cluster.start_node(node)
    cluster.wait_until("node back", lambda: set(cluster.node_states().values()) == {"idle"})


def test_job_requeued_and_let_go_at_once_runs_again(cluster, tmp_path):
    for wait_s in (0.3, 0.5, 0.7):  # the controller starts jobs once a second, its restarts too
        job = submit(cluster, tmp_path, 'test -n "$SLURM_RESTART_COUNT" || sleep 60')
        await_state(cluster, job, "RUNNING")
        time.sleep(wait_s)
        cluster.run("scontrol", "requeue", job)
        await_state(cluster, job, "PENDING")
        cluster.skip_requeue_delay(job)
        await_state(cluster, job, "COMPLETED")


def test_clusters_do_not_accept_each_others_credentials(cluster, accounting_cluster, tmp_path):
    conf = (cluster.root / "slurm.conf").read_text()
    stranger = tmp_path / "slurm.conf"
    stranger.write_text(
        conf.replace(f"{cluster.root}/munge.sock", f"{accounting_cluster.root}/munge.sock")
    )
    env = {**cluster.env, "SLURM_CONF": str(stranger)}
    done = subprocess.run(["squeue"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    # The client learns nothing; the controller's log has the reason.
    assert "Munge decode failed: Invalid credential" in cluster.logs()


def test_cluster_dies_with_the_process_that_started_it(tmp_path_factory):
    reason = why_not()
    if reason is not None:
        unavailable(reason)
    root = tmp_path_factory.mktemp("orphan")
    program = (
        "import sys, time; from pathlib import Path; from tests.cluster.slurm import Cluster\n"
        f"c = Cluster(Path({str(root)!r}), nodes=1); c.start(); print(flush=True); time.sleep(60)"
    )
    repository = Path(__file__).resolve().parents[2]
    starter = subprocess.Popen([sys.executable, "-c", program], cwd=repository, stdout=-1)
    starter.stdout.readline()
    pids = [
        int(path.read_text()) for path in (root / "run").glob("*.pid") if ".own" not in path.name
    ]
    assert len(pids) == 3  # munged, slurmctld, one node
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    Cluster.attach(root).wait_until("daemons gone", lambda: not any(map(_lives, pids)))


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.timeout(900)  # the first test that asks for the image builds it
def test_image_runs_inside_a_job(cluster, apptainer, cpu_image, tmp_path):
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "__init__.py").write_text("raise SystemExit('the wrong jobs')")
    command = (
        f"{apptainer} exec --cleanenv --no-home --bind {tmp_path} --pwd {tmp_path} {cpu_image} "
        "python -c 'import jobs, sys; print(jobs.__file__, sys.version_info[:2])'"
    )
    job = submit(cluster, tmp_path, command, "--array=0", "--wait")
    out = (tmp_path / f"{job}_0.out").read_text()
    assert out.startswith("/opt/lamstore/lib/python3.11/site-packages/jobs/")
    assert out.endswith("(3, 11)\n")
