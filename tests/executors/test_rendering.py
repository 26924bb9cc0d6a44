"""Are scripts, arrays and profiles what they should be, without any cluster?"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc.arrays import Group, divide, units_per_task
from hpc.profiles import EXAMPLES, Profile, load_profile
from hpc.resources import memory_mib, show_memory, show_time, time_s
from hpc.run_folder import RunFolder
from hpc.slurm_run import more
from hpc.slurm_script import Batch, render, render_submit, sbatch_quote
from hpc.slurm_submit import new_facts, write_run
from lamstore.errors import ConfigError
from lamstore.units import Unit
from tests.executors.idle import idle_study

SPACED = "/data/l'étude «deux» 100%"
AWKWARD = '/data/l\'étude «deux» $HOME `x` "q" 100%'


def units(wave: str, subjects: int, each: int) -> list[Unit]:
    return [
        Unit(wave, "e", f"s{s:05d}", "t1", f"shift{n}")
        for s in range(subjects)
        for n in range(each)
    ]


def group(wave: str, subjects: int, each: int = 10) -> Group:
    return Group(wave, units(wave, subjects, each), 4096, 3600)


def batch(**changed: object) -> Batch:
    given_ = {
        "title": "what it does",
        "name": "lam infer x",
        "module": "hpc.task",
        "study": AWKWARD,
        "run": "20260101-000000-000",
        "script": "infer-00",
        "log": f"{AWKWARD}/runs/1/logs/infer-00",
        "cwd": AWKWARD,
        "python": "/opt/my python/bin/python",
        "memory_mib": 4096,
        "time_s": 3600,
        "lead_s": 120,
        "tasks": 7,
        "begin": 100,
        "per_task": 20,
        "end": 233,
    }
    return Batch(**(given_ | changed))


@pytest.mark.parametrize(
    ("text", "mib"), [("4G", 4096), ("500M", 500), ("2000", 2000), ("1.5T", 1572864), ("1K", 1)]
)
def test_memory_as_slurm_reads_it(text, mib):
    assert memory_mib(text) == mib


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 1800), ("30:30", 1830), ("1:30:00", 5400), ("2-12", 216000), ("1-0:0:5", 86405)],
)
def test_time_as_slurm_reads_it(text, seconds):
    assert time_s(text) == seconds


@given(st.integers(1, 10**7))
def test_memory_and_time_come_back(number):
    assert memory_mib(show_memory(number)) == number
    assert time_s(show_time(number)) == number


@pytest.mark.parametrize("parse", [memory_mib, time_s])
@pytest.mark.parametrize("text", ["", "much", "-4G", "4 potatoes", "1:2:3:4"])
def test_nonsense_is_refused(parse, text):
    with pytest.raises(ConfigError):
        parse(text)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 7), st.integers(1, 5))
def test_arrays_cover_every_unit_once_within_the_limit(subjects, each, per_task, limit):
    groups = [group("infer", subjects, each), group("compare", subjects, each)]
    division = divide(groups, Profile(units_per_task=per_task), {}, limit)
    lines = [
        line
        for array in division.arrays.values()
        for index in range(array.tasks)
        for line in range(*array.slice(index))
    ]
    assert lines == list(range(2 * subjects * each))
    assert all(array.tasks <= limit for array in division.arrays.values())


def test_waves_follow_each_other_and_arrays_of_a_throttled_wave_too():
    groups = [group("infer", 10), group("compare", 10)]
    free = divide(groups, Profile(units_per_task=10), {}, 5)
    assert free.after["infer-01"] == ()
    assert free.after["compare-01"] == ("infer-00", "infer-01")
    assert free.last == ("compare-00", "compare-01")
    held = divide(groups, Profile(units_per_task=10, throttle=2), {}, 5)
    assert held.after["infer-01"] == ("infer-00",)
    assert held.after["compare-00"] == ("infer-01",)
    assert held.last == ("compare-01",)


@pytest.mark.parametrize(
    ("subjects", "mean_s", "expected"),
    [
        (10_000, 1.0, 720),  # 12 minutes
        (10_000, 60.0, 20),  # 12 minutes would be 12: whole subjects
        (32, 10.0, 10),  # spread over 32 tasks
        (2, 0.001, 20),  # not worth dividing
        (10_000, 4000.0, 1),  # longer than the time limit: one at a time
    ],
)
def test_units_per_task_follow_measured_times(subjects, mean_s, expected):
    assert units_per_task(group("infer", subjects), Profile(), mean_s) == expected


def test_more_memory_or_time_up_to_the_cap():
    profile = Profile(max_memory="6G", max_time="3:00:00")
    assert more("out of memory", 2048, 60, profile) == (4096, 60)
    assert more("out of memory", 4096, 60, profile) == (6144, 60)
    assert more("out of memory", 8192, 60, profile) == (8192, 60)
    assert more("timeout", 2048, 7200, profile) == (2048, 10800)
    assert more("node lost", 2048, 60, profile) == (2048, 60)


def scripts() -> dict[str, str]:
    profile = Profile(
        partition="gpu",
        gres="gpu:1",
        extra_directives=("--exclude=n07",),
        modules=("cuda/12",),
        prologue=("export SITE=1",),
    )
    contained = ("apptainer", "exec", "--bind", SPACED, "--bind", "$scratch", "/x y.sif")
    exports = ("export APPTAINERENV_A=1",)
    finish = batch(study=SPACED, module="hpc.finish", tasks=None, next_submit=f"{SPACED}/submit.sh")
    return {
        "array": render(batch(study=SPACED, throttle=3), profile, profile.of("infer")),
        "contained": render(
            batch(study=SPACED, container=contained, exports=exports, python="python"),
            profile,
            profile,
        ),
        "finish": render(finish, profile, profile),
        "submit": render_submit(
            SPACED, "t", [("a-00", ()), ("b-00", ("a-00",)), ("finish", ("b-00",))]
        ),
    }


@pytest.mark.parametrize("name", scripts())
def test_shellcheck_has_nothing_to_say(name):
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck here; tests/cluster/install.sh installs it")
    done = subprocess.run(
        ["shellcheck", "-"], input=scripts()[name], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""


def test_directives_say_what_the_profile_says():
    lines = scripts()["array"].splitlines()
    asked = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    assert {
        "--partition=gpu",
        "--gres=gpu:1",
        "--exclude=n07",
        "--array=0-6%3",
        "--mem=4G",
        "--time=01:00:00",
        "--signal=B:USR1@120",
        "--requeue",
        "--open-mode=append",
    } <= asked
    assert "module load cuda/12" in lines
    assert "export SITE=1" in lines


@pytest.mark.parametrize(("index", "expected"), [(0, "100:120"), (6, "220:233")])
def test_script_asks_for_its_lines_of_a_study_with_an_awkward_path(tmp_path, index, expected):
    echo = tmp_path / "my python"
    echo.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    echo.chmod(0o755)
    text = render(batch(python=str(echo)), Profile(), Profile())
    done = subprocess.run(
        ["bash", "-c", text],
        env={"PATH": "/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": str(index), "SLURM_ARRAY_JOB_ID": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    words = done.stdout.splitlines()
    assert words[:4] == ["-P", "-m", "hpc.task", AWKWARD]
    assert words[words.index("--lines") + 1] == expected
    assert words[words.index("--job") + 1] == "7"


@pytest.mark.parametrize(("status", "calls"), [(0, 0), (85, 1), (3, 0)])
def test_stopped_task_is_requeued_and_the_status_handed_on(tmp_path, status, calls):
    fake, said = tmp_path / "python", tmp_path / "said"
    fake.write_text(f"#!/bin/bash\nexit {status}\n")
    (tmp_path / "scontrol").write_text(f'#!/bin/bash\necho "$@" >> {shlex.quote(str(said))}\n')
    (tmp_path / "sleep").write_text("#!/bin/bash\n")
    for path in (fake, tmp_path / "scontrol", tmp_path / "sleep"):
        path.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", render(batch(python=str(fake)), Profile(), Profile())],
        env={
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "SLURM_ARRAY_TASK_ID": "4",
            "SLURM_ARRAY_JOB_ID": "7",
        },
        check=False,
    )
    assert done.returncode == status
    asked = said.read_text().splitlines() if said.exists() else []
    assert asked == ["requeue 7_4"] * calls


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_quoted_values_keep_their_quotes_paired(text):
    quoted = sbatch_quote(text)
    assert quoted == text or (quoted[0] == quoted[-1] == '"')


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_examples_are_valid_and_ask_for_a_gpu_only_at_inference(path, monkeypatch):
    monkeypatch.setenv("LAMSTORE_CLUSTERS", "/nowhere")
    profile = load_profile({}, path.stem)
    assert profile.of("infer").gpu
    assert not profile.of("compare").gpu


def test_study_wins_over_site_and_command_line_over_both(tmp_path: Path, monkeypatch):
    path = tmp_path / "clusters.yaml"
    path.write_text(
        "default: a\nprofiles:\n  a: {memory: 1G, throttle: 4, jobs: {infer: {gres: 'gpu:1'}}}\n"
    )
    monkeypatch.setenv("LAMSTORE_CLUSTERS", str(path))
    section = {"memory": "2G", "jobs": {"infer": {"memory": "8G"}}}
    profile = load_profile(section, throttle=9, units_per_task=None)
    assert (profile.memory, profile.throttle) == ("2G", 9)
    assert (profile.of("infer").memory, profile.of("infer").gres) == ("8G", "gpu:1")


@pytest.mark.parametrize(
    ("section", "word"),
    [({"memroy": "1G"}, "memroy"), ({"memory": "lots"}, "lots"), ({"profile": "x"}, "profile")],
)
def test_wrong_profiles_are_refused_by_name(section, word, monkeypatch):
    monkeypatch.setenv("LAMSTORE_CLUSTERS", "/nowhere")
    with pytest.raises(ConfigError) as refused:
        load_profile(section)
    assert word in str(refused.value)


def test_only_the_job_that_asks_for_a_gpu_gets_one_and_sees_the_hosts_driver(tmp_path: Path):
    image = tmp_path / "image.sif"
    image.write_bytes(b"not opened here")
    profile = Profile(container=image, jobs={"infer": {"gres": "gpu:1"}})
    run = RunFolder(idle_study(tmp_path), "r")
    facts, waves = new_facts(run, profile, "slurm"), [group("infer", 1), group("compare", 1)]
    write_run(run, facts, waves, profile, needs=lambda u: (), mean_s={}, max_array_size=9)
    texts = {path.stem: path.read_text() for path in run.path.glob("*.sbatch")}
    assert texts.keys() == {"infer-00", "compare-00", "finish"}
    for name, text in texts.items():
        assert ("--nv" in text) == ("#SBATCH --gres=gpu:1" in text) == (name == "infer-00")
        assert "exec --cleanenv --no-home" in text
