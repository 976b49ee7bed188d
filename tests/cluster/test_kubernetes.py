"""The Kubernetes manifest follows its schemas, and its parts fit each other."""

import kubernetes_validate
import pytest
import yaml
from torch.distributed.run import get_args_parser

from tests.conftest import ROOT

MANIFEST = list(
    yaml.safe_load_all((ROOT / "deploy/cluster/kubernetes.yaml").read_text(encoding="utf-8"))
)
CLAIM, SERVICE, JOB = MANIFEST
POD = JOB["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
# indexed jobs that give pods host names are stable since 1.24; the oldest schema is of 1.25
VERSIONS = ("1.25", kubernetes_validate.latest_version())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("part", MANIFEST, ids=lambda part: part["kind"])
def test_each_part_follows_its_schema(part, version):
    kubernetes_validate.validate(part, version, strict=True)


def test_the_schemas_are_strict():
    wrong = {**JOB, "spec": {**JOB["spec"], "complitions": 4}}
    with pytest.raises(kubernetes_validate.ValidationError, match="complitions"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_torchrun_understands_the_command_and_each_pod_is_a_node():
    program, *words = CONTAINER["command"]
    assert program == "torchrun"
    options = get_args_parser().parse_args(words)
    assert (options.module, options.training_script) == (True, "stages.train")
    spec = JOB["spec"]
    assert spec["completionMode"] == "Indexed"
    assert int(options.nnodes) == spec["completions"] == spec["parallelism"]
    assert options.max_restarts > 0
    pod, _, rest = options.rdzv_endpoint.partition(".")
    service, _, port = rest.partition(":")
    assert pod == f"{JOB['metadata']['name']}-0"
    assert service == SERVICE["metadata"]["name"] == POD["subdomain"]
    assert int(port) == SERVICE["spec"]["ports"][0]["port"]


def test_the_service_names_the_pods_of_the_job():
    # Kubernetes gives every pod of a job this label
    assert SERVICE["spec"]["selector"] == {"job-name": JOB["metadata"]["name"]}
    assert SERVICE["spec"]["clusterIP"] == "None"


def test_the_claim_holds_the_project_that_the_image_works_on():
    (volume,) = POD["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
    assert "ReadWriteMany" in CLAIM["spec"]["accessModes"]
    (mount,) = CONTAINER["volumeMounts"]
    assert mount["name"] == volume["name"]
    assert mount["mountPath"] == CONTAINER["workingDir"]
    image = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8").split("AS pipeline\n")[1]
    assert f"WORKDIR {CONTAINER['workingDir']}\n" in image
