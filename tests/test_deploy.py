"""The image and the manifest in docs/deploy fit each other, and the run that made the model."""

import json
import os
import re

import pytest
import yaml

from trainers.settings import ROOT

FOLDER = os.path.join(ROOT, "docs", "deploy")


def objects(*path):
    """{kind: object} of a manifest."""
    with open(os.path.join(ROOT, "docs", *path), encoding="utf-8") as file:
        return {each["kind"]: each for each in yaml.safe_load_all(file)}


@pytest.fixture(scope="module")
def manifest():
    return objects("deploy", "kubernetes.yaml")


@pytest.fixture
def pod(manifest):
    return manifest["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture
def container(pod):
    (container,) = pod["containers"]
    return container


@pytest.fixture(scope="module")
def image():
    """[(instruction, arguments)] of the Dockerfile."""
    with open(os.path.join(FOLDER, "Dockerfile"), encoding="utf-8") as file:
        lines = [line for line in file.read().splitlines() if not line.startswith("#")]
    return [tuple(line.split(" ", 1)) for line in lines]


@pytest.fixture
def command(image):
    return json.loads(dict(image)["CMD"])


def test_the_image_starts_the_server_where_kubernetes_looks_for_it(image, command, container):
    port = container["ports"][0]["containerPort"]
    assert command[:2] == ["python", "scripts/serve.py"]
    assert {"--host=0.0.0.0", f"--port={port}"} <= {*command}
    assert dict(image)["EXPOSE"] == str(port)
    assert "command" not in container and "args" not in container


def test_the_server_finds_the_model_where_it_is_mounted(command, container, pod):
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert f"--model={mounts['runs']['mountPath']}" in command
    assert mounts["runs"]["readOnly"]
    assert {volume["name"] for volume in pod["volumes"]} == {*mounts}


def test_the_volume_is_that_of_the_training(pod, container):
    claim = objects("clusters", "kubernetes.yaml")["PersistentVolumeClaim"]["metadata"]["name"]
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim
    job = objects("clusters", "kubernetes.yaml")["Job"]["spec"]["template"]["spec"]
    model_dir = f"/runs/{container['volumeMounts'][0]['subPath']}"
    assert f"--model_dir={model_dir}" in job["containers"][0]["args"]


def test_the_server_is_not_root(image, pod):
    user = dict(image)["USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert pod["securityContext"]["runAsNonRoot"]
    names = [instruction for instruction, _ in image]
    assert names.index("RUN") < names.index("USER") < names.index("CMD")


def test_requests_reach_the_servers(manifest, container):
    service, deployment = manifest["Service"]["spec"], manifest["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert service["selector"] == deployment["selector"]["matchLabels"] == labels
    assert service["ports"][0]["targetPort"] == container["ports"][0]["name"]


def test_every_probe_asks_for_health(container):
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        get = container[probe]["httpGet"]
        assert get == {"path": "/health", "port": container["ports"][0]["name"]}


def test_prometheus_reads_the_servers_port(manifest, container):
    notes = manifest["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert notes["prometheus.io/path"] == "/metrics"
    assert notes["prometheus.io/port"] == str(container["ports"][0]["containerPort"])


def test_the_image_has_the_name_that_the_manifest_pulls(container):
    with open(os.path.join(FOLDER, "Dockerfile"), encoding="utf-8") as file:
        assert f"-t {container['image']} -f docs/deploy/Dockerfile ." in file.read()


def test_the_image_gives_flags_that_the_server_has_and_time_that_it_needs(command, pod, container):
    with open(os.path.join(ROOT, "scripts", "serve.py"), encoding="utf-8") as file:
        source = file.read()
    known = dict(re.findall(r'flags\.DEFINE_\w+\(\s*"(\w+)",\s*([^,]*),', source))
    assert {flag.removeprefix("--").split("=")[0] for flag in command[2:]} <= {*known}
    wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > wait + float(known["grace_s"])
