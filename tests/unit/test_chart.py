"""The chart, the one-file install, the samples, the alerts and the runbooks belong together.

Rendering needs Helm and checking alerts promtool, on the PATH or named by $HELM and $PROMTOOL; what needs neither is
checked anywhere, much of it on manifests/install.yaml, which is the chart at its default values.
"""

import io
import json
import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from apportion.api.crds import crd_documents
from apportion.api.dump import load_objects
from apportion.api.reference import reference_pages
from apportion.config import Settings
from apportion.kube.preflight import RIGHTS
from apportion.metrics import Metrics
from controlplane.releases import rendered
from tools import tool

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "apportion"
RUNBOOKS = ROOT / "docs" / "runbooks"
SAMPLES = sorted((ROOT / "manifests" / "samples").glob("*.yaml"))
VALUES = (CHART / "values.yaml").read_text(encoding="utf-8")
INSTALL = [document for document in yaml.safe_load_all((ROOT / "manifests" / "install.yaml").read_text()) if document]
ALERTS = [
    rule for group in yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD = json.loads((CHART / "files/dashboard.json").read_text())


def of_kind(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] == kind]


def named(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (document,) = (found for found in of_kind(documents, kind) if found["metadata"]["name"] == name)
    return document


# The chart


def test_every_value_has_its_comment_and_its_schema():
    lines = VALUES.splitlines()
    undocumented = [
        line
        for before, line in pairwise(lines)
        if re.match(r"^ *\w+: \S", line) and not re.match(r"^ *# ", before) and not in_an_example(line)
    ]
    assert undocumented == []
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(leaves(yaml.safe_load(VALUES), schema)) == set()


def in_an_example(line: str) -> bool:
    """Resources and labels are values as a whole: their inside is Kubernetes's, documented above them."""
    return line.strip().split(":")[0] in {"cpu", "memory", "grafana_dashboard"}


def leaves(values: dict[str, Any], schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Values that the schema does not know."""
    for name, value in values.items():
        part = schema["properties"].get(name)
        if part is None:
            yield f"{path}{name}"
        elif isinstance(value, dict) and "properties" in part:
            yield from leaves(value, part, f"{path}{name}.")


def test_the_versions_are_those_of_the_package():
    from apportion import __version__

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_the_install_file_is_the_chart_at_its_default_values():
    namespace, *rest = INSTALL
    assert namespace["kind"] == "Namespace"
    assert rest == rendered()


def test_lint():
    done = subprocess.run([tool("helm"), "lint", "--strict", str(CHART)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_optional_parts_render():
    documents = rendered(
        "serviceMonitor.enabled=true",
        "prometheusRule.enabled=true",
        "prometheusRule.runbookBase=/wiki/runbooks/",
        "dashboard.enabled=true",
        "networkPolicy.egressPorts={6443}",
        "image.digest=sha256:" + "0" * 64,
        "podLabels.team=platform",
        "extraEnv[0].name=TZ",
        "extraEnv[0].value=UTC",
        "extraVolumes[0].name=prometheus",
        "extraVolumes[0].secret.secretName=prometheus-token",
        "extraVolumeMounts[0].name=prometheus",
        "extraVolumeMounts[0].mountPath=/prometheus",
        "replicas=1",
    )
    (rule,) = of_kind(documents, "PrometheusRule")
    assert rule["spec"]["groups"][0]["rules"][0]["annotations"]["runbook_url"] == "/wiki/runbooks/apportion-down.md"
    assert "{{ $value | humanizeDuration }}" in json.dumps(rule)
    (dashboard,) = of_kind(documents, "ConfigMap")
    assert json.loads(dashboard["data"]["apportion.json"]) == DASHBOARD
    (monitor,) = of_kind(documents, "ServiceMonitor")
    (service,) = of_kind(documents, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (policy,) = of_kind(documents, "NetworkPolicy")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    (pod,) = (document["spec"]["template"] for document in of_kind(documents, "Deployment"))
    assert pod["metadata"]["labels"]["team"] == "platform"
    assert pod["spec"]["containers"][0]["image"] == "apportion@sha256:" + "0" * 64
    assert {"name": "TZ", "value": "UTC"} in pod["spec"]["containers"][0]["env"]
    assert {"name": "prometheus", "secret": {"secretName": "prometheus-token"}} in pod["spec"]["volumes"]
    assert {"name": "prometheus", "mountPath": "/prometheus"} in pod["spec"]["containers"][0]["volumeMounts"]
    assert of_kind(documents, "PodDisruptionBudget") == []


def history_of(*settings: str) -> tuple[list[str], list[dict[str, Any]]]:
    """(the operator's arguments for recorded rounds, the volume behind the folder that they name)."""
    (deployment,) = of_kind(rendered(*settings), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    words = [word for word in container["args"] if word.startswith("--history")]
    mounted = [
        mount["name"] for mount in container["volumeMounts"] if f"--history-folder={mount['mountPath']}" in words
    ]
    return words, [volume for volume in pod["volumes"] if volume["name"] in mounted]


def test_rounds_are_recorded_to_a_directory_of_the_pod_a_claim_or_nowhere():
    assert history_of() == (
        ["--history-folder=/history", "--history-mebibytes=256"],
        [{"name": "history", "emptyDir": {"sizeLimit": "320Mi"}}],
    )
    words, volumes = history_of("history.persistentVolumeClaim=rounds", "history.mebibytes=1000")
    assert words[1:] == ["--history-mebibytes=1000"]
    assert volumes == [{"name": "history", "persistentVolumeClaim": {"claimName": "rounds"}}]
    assert history_of("history.enabled=false") == ([], [])


def test_what_is_switched_off_is_left_out():
    documents = rendered(
        "crds.install=false",
        "rbac.create=false",
        "rbac.userRoles=false",
        "serviceAccount.create=false",
        "serviceAccount.name=mine",
        "trainingPriorityClass.create=false",
        "networkPolicy.enabled=false",
        "podDisruptionBudget.enabled=false",
        "history.enabled=false",
    )
    assert sorted(document["kind"] for document in documents) == ["Deployment", "Service"]
    assert of_kind(documents, "Deployment")[0]["spec"]["template"]["spec"]["serviceAccountName"] == "mine"


@pytest.mark.parametrize("setting", ["replicas=many", "colour=red", "image.pullPolicy=Sometimes", "replicas=-1"])
def test_a_wrong_value_is_refused(setting):
    command = [tool("helm"), "template", "apportion", str(CHART), "--set", setting]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert setting.split("=")[0].split(".")[-1] in done.stderr


# What is installed


def test_the_definitions_are_those_of_the_models_and_outlive_the_release():
    installed = of_kind(INSTALL, "CustomResourceDefinition")
    by_name = {crd["metadata"]["name"]: crd["spec"] for crd in installed}
    assert by_name == {crd["metadata"]["name"]: crd["spec"] for crd in crd_documents()}
    assert all(crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for crd in installed)


def test_the_operator_runs_restricted_and_with_settings_that_exist():
    spec = named(INSTALL, "Deployment", "apportion")["spec"]
    assert spec["replicas"] == 2
    pod, container = spec["template"]["spec"], spec["template"]["spec"]["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
    probes = {probe: container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")}
    assert probes == {"livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    command, *options = container["args"]
    assert command == "run"
    names = {option.removeprefix("--").split("=")[0].replace("-", "_") for option in options}
    assert names <= set(Settings.__dataclass_fields__)


def grants(role: dict[str, Any]) -> set[str]:
    return {
        f"{verb} {resource}{'.' + group if group else ''}"
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_watched_namespaces_take_the_place_of_rights_in_all():
    documents = rendered("watchNamespaces={red,blue}")
    everywhere = grants(named(documents, "ClusterRole", "apportion"))
    roles = [role for role in of_kind(documents, "Role") if role["metadata"]["name"] == "apportion"]
    assert [role["metadata"]["namespace"] for role in roles] == ["red", "blue"]
    for role in roles:
        assert everywhere.isdisjoint(grants(role))
        assert everywhere | grants(role) == grants(named(INSTALL, "ClusterRole", "apportion"))
    assert not [right for right in everywhere if right.startswith(("create ", "patch ")) and "/status" not in right]
    bound = [one for one in of_kind(documents, "RoleBinding") if one["metadata"]["name"] == "apportion"]
    assert [one["metadata"]["namespace"] for one in bound] == ["red", "blue"]
    (container,) = named(documents, "Deployment", "apportion")["spec"]["template"]["spec"]["containers"]
    assert [word for word in container["args"] if "watch" in word] == [
        "--watch-namespace=red",
        "--watch-namespace=blue",
    ]


def test_the_operator_has_the_rights_that_it_asks_for_and_few_more():
    granted = grants(named(INSTALL, "ClusterRole", "apportion"))
    asked = {str(right) for right in RIGHTS}
    assert asked - granted == set()
    assert granted - asked == {"update trainingjobs/finalizers.apportion.dev"}
    lease = grants(named(INSTALL, "Role", "apportion-leader"))
    assert lease == {f"{verb} leases.coordination.k8s.io" for verb in ("create", "get", "update")}


def test_the_standard_roles_see_and_edit_jobs_and_nobody_gets_queues_by_the_way():
    viewer, editor, platform = (
        named(INSTALL, "ClusterRole", f"apportion-{role}") for role in ("viewer", "editor", "platform")
    )
    aggregated = [
        sorted(label.rsplit("-", 1)[1] for label in role["metadata"]["labels"] if "aggregate-to" in label)
        for role in (viewer, editor, platform)
    ]
    assert aggregated == [["admin", "edit", "view"], ["admin", "edit"], []]
    assert {right.split()[0] for right in grants(viewer)} == {"get", "list", "watch"}
    assert {right.split()[1] for right in grants(editor)} == {"trainingjobs.apportion.dev"}


def test_pods_of_jobs_never_preempt():
    assert named(INSTALL, "PriorityClass", "apportion-training")["preemptionPolicy"] == "Never"


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_samples_are_valid_and_have_no_unknown_field(sample):
    loaded = load_objects([str(sample)], io.StringIO())
    assert loaded.warnings == ()
    assert loaded.ignored == {}
    assert loaded.of_kind("TrainingJob")


def test_the_samples_are_there():
    assert [path.name for path in SAMPLES] == ["first-job.yaml", "mixed-fleet.yaml", "tpu.yaml", "two-teams.yaml"]


# Alerts, runbooks, dashboard, reference


def test_every_alert_has_its_runbook_and_every_runbook_its_alert():
    told = {rule["annotations"]["runbook_url"] for rule in ALERTS}
    assert told == {f"docs/runbooks/{path.name}" for path in RUNBOOKS.glob("*.md")}
    for rule in ALERTS:
        text = (ROOT / rule["annotations"]["runbook_url"]).read_text(encoding="utf-8")
        assert text.startswith(f"# {rule['alert']}\n")
        headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert headings == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_alerts_and_dashboard_use_metrics_that_exist():
    families = {family.name: family for family in Metrics().registry.collect()}
    known = {name + suffix for name in families for suffix in ("", "_total", "_bucket", "_sum", "_count")}
    expressions = [rule["expr"] for rule in ALERTS]
    expressions += [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    used = {name for expression in expressions for name in re.findall(r"apportion_\w+", expression)}
    assert used - known == set()
    assert len(used) > 15


def test_promtool_takes_the_alerts_and_they_fire_when_they_should():
    promtool = tool("promtool")
    for command in (["check", "rules", "files/alerts.yaml"], ["test", "rules", "ci/alerts_test.yaml"]):
        done = subprocess.run([promtool, *command], cwd=CHART, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried_by_promtool():
    tried = (CHART / "ci" / "alerts_test.yaml").read_text()
    assert {rule["alert"] for rule in ALERTS} == set(re.findall(r'alertname="(\w+)"', tried))


def test_the_reference_is_made_from_the_models():
    folder = ROOT / "docs" / "reference"
    for name, text in reference_pages().items():
        assert (folder / name).read_text(encoding="utf-8") == text, f"docs/reference/{name}: generate it again"
    assert "equals the right to create Deployments" in reference_pages()["trainingjob.md"]
