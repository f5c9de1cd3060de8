"""The files in docs/clusters, and what a worker that they start learns of its cluster."""

import os
import shutil
import subprocess

import pytest
import yaml

from trainers.settings import ROOT

SBATCH = os.path.join(ROOT, "docs", "clusters", "slurm.sbatch")
MANIFEST = os.path.join(ROOT, "docs", "clusters", "kubernetes.yaml")


@pytest.fixture
def submitted(tmp_path, monkeypatch):
    """Runs the batch script, with stand-ins for srun and scontrol that tell their arguments."""

    def submitted(status, *flags):
        for name, code in (("srun", status), ("scontrol", 0)):
            path = tmp_path / name
            path.write_text(f'#!/bin/bash\nprintf "%s\\n" {name} "$@"\nexit {code}\n')
            path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.setenv("SLURM_JOB_ID", "17")
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", "2")
        done = subprocess.run(["bash", SBATCH, *flags], capture_output=True, text=True, check=False)
        assert not done.stderr
        return done.returncode, done.stdout.splitlines()

    return submitted


def test_the_batch_script_is_sound():
    checker = ["shellcheck"] if shutil.which("shellcheck") else ["bash", "-n"]
    subprocess.run([*checker, SBATCH], check=True)


def test_srun_starts_the_trainer_with_the_flags_as_they_are(submitted):
    flags = ["--model_dir=runs/a", '--gin_param=TRAIN_FILES = "my/*.txt"']
    status, lines = submitted(0, *flags)
    assert status == 0
    begin = lines.index("python")
    assert lines[begin : begin + 3] == ["python", "-m", "trainers.run"]
    settings = ['--gin_param=STRATEGY = "multi_worker"', '--gin_param=CLUSTER = "slurm"']
    assert lines[begin + 3 :] == [*flags, *settings]


@pytest.mark.parametrize("status, requeued", [(0, False), (75, True), (1, False), (137, False)])
def test_a_job_queues_again_when_its_run_has_stopped(submitted, status, requeued):
    got, lines = submitted(status)
    assert got == status
    assert (lines[-3:] == ["scontrol", "requeue", "17"]) == requeued
    assert ("scontrol" in lines) == requeued


def slurm_cluster(monkeypatch, rank, nodes, tasks_per_node):
    """(hosts, task) in the environment that srun gives a worker."""
    from trainers import clusters

    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_PROCID", str(rank))
    monkeypatch.setenv("SLURM_STEP_NODELIST", nodes)
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", tasks_per_node)
    resolver = clusters.make_resolver("slurm")
    return resolver.cluster_spec().as_dict()["worker"], (resolver.task_type, resolver.task_id)


def test_slurm_workers_find_their_hosts_in_slurms_order(monkeypatch):
    hosts, task = slurm_cluster(monkeypatch, 1, "node[9-10]", "1(x2)")
    assert hosts == ["node9:20017", "node10:20017"]
    assert task == ("worker", 1)


def test_slurm_workers_of_a_node_have_ports_of_their_own(monkeypatch):
    hosts, task = slurm_cluster(monkeypatch, 3, "a[08-09],b1", "2,1(x2)")
    assert hosts == ["a08:20017", "a08:20018", "a09:20017", "b1:20017"]
    assert task == ("worker", 3)


def test_tensorflows_own_slurm_resolver_still_sorts_hosts_as_text(monkeypatch):
    # The day this fails, clusters.slurm can give way to it.
    import tensorflow as tf

    slurm_cluster(monkeypatch, 0, "node[9-10]", "1(x2)")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        gpus_per_node=2, gpus_per_task=1, auto_set_gpu=False
    )
    assert resolver.cluster_spec().as_dict()["worker"] == ["node10:8888", "node9:8888"]


@pytest.fixture(scope="module")
def manifest():
    """{kind: object}"""
    with open(MANIFEST, encoding="utf-8") as file:
        objects = list(yaml.safe_load_all(file))
    assert len(objects) == 3
    return {each["kind"]: each for each in objects}


@pytest.fixture
def pod(manifest):
    return manifest["Job"]["spec"]["template"]["spec"]


@pytest.fixture
def environment(pod):
    (container,) = pod["containers"]
    return {each["name"]: each["value"] for each in container["env"]}


def test_kubernetes_workers_get_names_that_resolve(manifest, pod, environment):
    """{hostname}.{subdomain}, where the hostname of an Indexed Job's pod is {job}-{index}.

    https://kubernetes.io/docs/tasks/job/job-with-pod-to-pod-communication/
    """
    job, service = manifest["Job"], manifest["Service"]
    assert environment["MENAGERIE_JOB"] == job["metadata"]["name"]
    assert environment["MENAGERIE_SERVICE"] == service["metadata"]["name"] == pod["subdomain"]
    assert "hostname" not in pod
    assert job["spec"]["completionMode"] == "Indexed"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    selector = {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    assert service["spec"]["selector"] == selector


def test_kubernetes_workers_find_each_other(monkeypatch, environment):
    from trainers import clusters

    for name, value in (environment | {"JOB_COMPLETION_INDEX": "1"}).items():
        monkeypatch.setenv(name, value)
    resolver = clusters.make_resolver("kubernetes")
    assert resolver.cluster_spec().as_dict() == {
        "worker": [f"menagerie-{i}.menagerie-workers:8888" for i in range(2)]
    }
    assert (resolver.task_type, resolver.task_id) == ("worker", 1)


@pytest.mark.parametrize("name, missing", [("tf_config", "TF_CONFIG"), ("slurm", "SLURM_PROCID")])
def test_a_worker_that_is_told_of_no_cluster_says_what_is_missing(monkeypatch, name, missing):
    from trainers import clusters
    from trainers.errors import UserError

    monkeypatch.delenv(missing, raising=False)
    with pytest.raises(UserError, match=f"CLUSTER = '{name}': {missing} is not set; "):
        clusters.make_resolver(name)


@pytest.mark.parametrize(
    "config",
    [
        "worker 1",
        "{}",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_a_tf_config_that_describes_no_workers_is_refused_in_one_line(monkeypatch, config):
    from trainers import clusters
    from trainers.errors import UserError

    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(UserError, match="^TF_CONFIG: ") as error:
        clusters.make_resolver("tf_config")
    assert "\n" not in str(error.value)


def test_kubernetes_workers_are_as_many_as_they_believe(manifest, environment):
    spec = manifest["Job"]["spec"]
    assert spec["completions"] == spec["parallelism"] == int(environment["MENAGERIE_WORKERS"])


def test_kubernetes_workers_listen_where_they_are_expected(manifest, pod, environment):
    port = int(environment["MENAGERIE_PORT"])
    assert [each["port"] for each in manifest["Service"]["spec"]["ports"]] == [port]
    assert [each["containerPort"] for each in pod["containers"][0]["ports"]] == [port]


def test_kubernetes_starts_a_stopped_worker_again_and_no_failed_one(manifest, pod):
    (container,) = pod["containers"]
    rules = manifest["Job"]["spec"]["podFailurePolicy"]["rules"]
    by_code = {}
    for rule in rules:
        if "onExitCodes" in rule:
            codes = rule["onExitCodes"]
            assert codes["containerName"] == container["name"]
            assert codes["operator"] == "In"
            by_code |= dict.fromkeys(codes["values"], rule["action"])
    assert by_code == {75: "Ignore", 1: "FailJob"}
    evicted = {"type": "DisruptionTarget", "status": "True"}
    assert {"action": "Ignore", "onPodConditions": [evicted]} in rules
    assert pod["restartPolicy"] == "Never"


def test_kubernetes_workers_share_the_model_dir(manifest, pod):
    claim = manifest["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    (volume,) = pod["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    (container,) = pod["containers"]
    (mount,) = container["volumeMounts"]
    assert mount["name"] == volume["name"]
    (model_dir,) = [flag for flag in container["args"] if flag.startswith("--model_dir=")]
    assert model_dir.removeprefix("--model_dir=").startswith(mount["mountPath"] + "/")


def test_kubernetes_flags_are_those_of_the_trainer(pod):
    from trainers import run

    (container,) = pod["containers"]
    assert container["command"] == ["python", "-m", "trainers.run"]
    values = run.parse_flags(["trainers.run", *container["args"]])
    assert 'STRATEGY = "multi_worker"' in values.gin_param
    assert 'CLUSTER = "kubernetes"' in values.gin_param
