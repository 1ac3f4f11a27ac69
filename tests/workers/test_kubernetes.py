"""Render the base in deploy/kubernetes and check it against the schemas of Kubernetes.

There is no cluster. Where kustomize is missing, the files are checked as they are.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from retention.settings import SECRETS, Settings, variable
from workers.app import QUEUES
from workers.queue.child_environments import NEEDS, WITHOUT_LAKE

BASE = Path(__file__).parents[2] / "deploy" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((BASE / "kustomization.yaml").read_text(encoding="utf-8"))
HAS_KUSTOMIZE = shutil.which("kustomize") is not None
needs_kustomize = pytest.mark.skipif(
    not HAS_KUSTOMIZE and "RETENTION_REQUIRE_KUSTOMIZE" not in os.environ,
    reason="needs kustomize, which CI installs",
)


def _resources() -> list[dict[str, Any]]:
    if HAS_KUSTOMIZE:
        command = ["kustomize", "build", str(BASE)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return list(yaml.safe_load_all(text))
    texts = [(BASE / name).read_text(encoding="utf-8") for name in KUSTOMIZATION["resources"]]
    return [resource for text in texts for resource in yaml.safe_load_all(text)]


RESOURCES = _resources()
DEPLOYMENTS = [each for each in RESOURCES if each["kind"] == "Deployment"]
PODS = [
    (each["metadata"]["name"], each["spec"]["template"])
    for each in RESOURCES
    if each["kind"] in ("Deployment", "StatefulSet")
]


def role_of(deployment: dict[str, Any]) -> str:
    """A role as `NEEDS` names it."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return ":".join(container["args"][2:5:2])


@pytest.mark.parametrize("version", ["1.30", "1.34", "1.37"])
def test_every_resource_follows_the_schema(version):
    for resource in RESOURCES:
        kubernetes_validate.validate(resource, version, strict=True)


def test_every_file_of_the_base_is_used():
    used = {*KUSTOMIZATION["resources"], *(each["path"] for each in KUSTOMIZATION["patches"])}
    assert used | {"kustomization.yaml"} == {file.name for file in BASE.iterdir()}


def test_every_role_has_a_deployment():
    expected = {"bot", "tick", "sender", "live", *(f"worker:{queue}" for queue in QUEUES)}
    assert {role_of(each) for each in DEPLOYMENTS} == expected
    for each in DEPLOYMENTS:
        (container,) = each["spec"]["template"]["spec"]["containers"]
        if role_of(each) != "bot":
            assert container["livenessProbe"]["exec"]["command"][-1] == role_of(each)


def test_each_process_gets_only_the_secrets_that_it_uses():
    fields = {name: field for field, name in SECRETS.items()}
    for each in DEPLOYMENTS:
        (container,) = each["spec"]["template"]["spec"]["containers"]
        given = {entry["name"] for entry in container["env"]} & fields.keys()
        role = role_of(each)
        needed = NEEDS.get(role, NEEDS[role.partition(":")[0]]) - {"database_url"}
        assert {fields[name] for name in given} - {"database_url"} == needed


@needs_kustomize
def test_only_what_reads_the_lake_gets_and_reaches_its_store(tmp_path):
    folder = os.path.relpath(BASE.parent, tmp_path)
    text = f"resources: [{folder}/kubernetes]\ncomponents: [{folder}/object_store]\n"
    (tmp_path / "kustomization.yaml").write_text(text, encoding="utf-8")
    command = ["kustomize", "build", str(tmp_path)]
    built = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    deployments = [each for each in yaml.safe_load_all(built) if each["kind"] == "Deployment"]
    assert len(deployments) == len(DEPLOYMENTS)
    for each in deployments:
        template = each["spec"]["template"]
        (container,) = template["spec"]["containers"]
        kubernetes_validate.validate(each, "1.37", strict=True)
        sources = [next(iter(source.values()))["name"] for source in container["envFrom"]]
        is_reader = role_of(each) not in WITHOUT_LAKE
        assert sources == ["desk-settings", *["desk-store"] * is_reader]
        assert template["metadata"]["labels"]["outside"] == "yes" or not is_reader


@needs_kustomize
def test_every_pod_is_confined():
    assert len(PODS) == 8
    for name, template in PODS:
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert ":" in container["image"]
            assert {"memory", "cpu"} <= container["resources"]["limits"].keys()
            confined = container["securityContext"]
            assert (confined["readOnlyRootFilesystem"], confined["capabilities"]) == (
                True,
                {"drop": ["ALL"]},
            )


def test_no_argument_holds_a_secret_and_settings_have_known_names():
    for _, template in PODS:
        for container in template["spec"]["containers"]:
            words = " ".join([*container.get("command", []), *container["args"]])
            assert "$(" not in words  # Kubernetes would fill in the value
    (settings,) = (each["data"] for each in RESOURCES if each["kind"] == "ConfigMap")
    plain = {variable(field) for field in Settings.model_fields if field not in SECRETS}
    assert settings.keys() <= plain


def test_only_the_desk_reaches_the_broker():
    policies = {e["metadata"]["name"]: e["spec"] for e in RESOURCES if e["kind"] == "NetworkPolicy"}
    assert policies["nobody"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    ((source,),) = (rule["from"] for rule in policies["valkey"]["ingress"])
    (label,) = source["podSelector"]["matchLabels"].items()
    reaching = {name for name, template in PODS if label in template["metadata"]["labels"].items()}
    without = {each["metadata"]["name"] for each in DEPLOYMENTS if role_of(each) == "sender"}
    assert reaching == {each["metadata"]["name"] for each in DEPLOYMENTS} - without
    assert "egress" not in policies["valkey"]


def test_the_page_names_every_required_secret():
    page = BASE.parents[1] / "docs" / "operator" / "kubernetes.md"
    text = "".join(file.read_text(encoding="utf-8") for file in BASE.iterdir())
    required = set(re.findall(r"name: desk-secrets, key: (\w+)\}", text))
    assert required == {"RETENTION_DATABASE_URL", "RETENTION_SECRET_KEY", "VALKEY_PASSWORD"}
    assert all(f"{name}=" in page.read_text(encoding="utf-8") for name in required)
