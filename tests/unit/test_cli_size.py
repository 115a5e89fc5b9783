"""`apportion size`: the cheapest number of replicas that is fast enough, by formulas or by a job's own curve."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from apportion.cli.formula import Formula, NotAFormula
from apportion.cli.main import cli

EXAMPLE = ("--fixed", "10000", "--per-replica", "1000", "--speedup", "0.2*R**0.5", "--threshold", "0.9")


def size(*options: str) -> Result:
    return CliRunner().invoke(cli, ["size", *options])


@pytest.mark.parametrize(
    ("normaliser", "first"),
    [("R", "R = 21, T = 31000"), ("1", "R = 3, T = 13000"), ("10", "R = 13, T = 23000")],
)
def test_the_worked_example(normaliser: str, first: str) -> None:
    found = size(*EXAMPLE, "--normaliser", normaliser)
    assert found.exit_code == 0
    assert found.output.splitlines()[0] == first


def test_both_functions_are_plotted_with_the_threshold() -> None:
    found = size(*EXAMPLE, "--normaliser", "R").output
    for part in ("T", "P", "P = 0.9", "42.0", "52000"):
        assert part in found
    assert "\x1b" not in found, "no colours where there is no terminal"


def test_the_plot_is_a_picture_as_well(tmp_path: Path) -> None:
    found = size(*EXAMPLE, "--png", str(tmp_path / "size.png"))
    assert found.exit_code == 0
    assert (tmp_path / "size.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_written_is_said() -> None:
    found = size(*EXAMPLE, "--png", "/nowhere/size.png")
    assert found.exit_code == 2
    assert "--png /nowhere/size.png: No such file or directory" in found.output


def test_a_cost_that_falls_and_rises_has_its_least_in_between() -> None:
    """T = 100 / R + R is least at 10; from 2 on the threshold holds."""
    found = size("--fixed", "100/R", "--speedup", "1", "--threshold", "2")
    assert found.output.splitlines()[0] == "R = 10, T = 20"


def test_equality_rarely_has_a_whole_solution_and_the_neighbours_are_told() -> None:
    found = size(*EXAMPLE, "--normaliser", "R", "--exactly")
    assert found.exit_code == 1
    assert found.output.splitlines()[:3] == [
        "No whole number of replicas has P = 0.9; one rarely exists. The neighbours:",
        "R = 20, T = 30000, P = 0.894427",
        "R = 21, T = 31000, P = 0.916515",
    ]


def test_equality_is_found_where_it_is() -> None:
    assert size(*EXAMPLE[:6], "--threshold", "1", "--normaliser", "R", "--exactly").output.startswith(
        "R = 25, T = 35000"
    )


def test_nothing_is_fast_enough() -> None:
    found = size(*EXAMPLE, "--normaliser", "R", "--max-replicas", "8")
    assert found.exit_code == 1
    assert found.output.startswith("No number of replicas up to 8 reaches P = 0.9: the most is 0.565685, at R = 8")


@pytest.mark.parametrize(
    "text",
    [
        "", "R R", "R; R", "x", "R = 2", "lambda: 1", "'a' * 3", "[R]", "(1, 2)", "True", "R if R else 1", "R > 1",
        "R.real", "R[0]", "f'{R}'", "__import__('os')", "open('x')", "().__class__", "sqrt", "max", "[x for x in R]",
        "R << 99999", "R % 2", "R // 2", "1j",
        "9**9**9", "floor(9)**floor(9e9)", "exp(1000)", "(-R)**0.5", "1/(R-1)", "log(R-2)", "sqrt(1, 2)",
        "1e999", "max()", "(" * 199, "-" * 199 + "1" * 9, "1" * 201,
    ],
)  # fmt: skip
def test_what_is_no_formula_is_refused_with_the_option_in_one_line(text: str) -> None:
    found = size("--speedup", text, "--threshold", "1", "--max-replicas", "4")
    assert found.exit_code == 2
    assert found.exception is None or isinstance(found.exception, SystemExit)
    assert found.output.startswith("error: --speedup")
    assert found.output.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2*R+1", 9),
        ("-R", -4),
        ("sqrt(R)", 2),
        ("max(R, 5) - min(1, R)", 4),
        ("ceil(R/3)", 2),
        ("log2(R)", 2),
        ("1e3", 1e3),
    ],
)
def test_formulas_are_arithmetic(text: str, value: float) -> None:
    assert Formula("--x", text)(4) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("R % 2", "Operator 'Mod' does not exist in expression 'R % 2'"),
        ("9**9**9", "at R = 1: Numerical result out of range"),
    ],
)
def test_why_it_is_no_formula_is_said_without_what_python_makes_of_it(text: str, why: str) -> None:
    with pytest.raises(NotAFormula) as refused:
        Formula("--x", text)
    assert str(refused.value).endswith(why)


def test_a_formula_has_no_memory() -> None:
    formula = Formula("--x", "R*2")
    assert [formula(3), formula(5), formula(3)] == [6, 10, 6]
    with pytest.raises(NotAFormula, match="'S' is not defined"):
        Formula("--x", "S")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--speedup", "1"), "expected --speedup and --threshold"),
        ((*EXAMPLE, "--normaliser", "R-1"), "--normaliser 'R-1': expected more than 0, not 0 at R = 1"),
        ((*EXAMPLE, "--job", "tj/a", "-f", "x.yaml"), "expected either --job or --speedup"),
    ],
)
def test_options_that_do_not_go_together(options: tuple[str, ...], said: str) -> None:
    found = size(*options)
    assert found.exit_code == 2
    assert said in found.output


# --- a job's own curve ------------------------------------------------------------------------------------------------


def cluster(tmp_path: Path, status: Any = None, **spec: Any) -> str:
    """A file with one node of eight GPUs and the job team/a."""
    labels = {"nvidia.com/gpu.product": "H100"}
    allocatable = {"nvidia.com/gpu": "8", "cpu": "64", "memory": "512Gi", "pods": "110"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": labels},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": allocatable}}  # fmt: skip
    container = {"name": "main", "image": "x", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    body = {"maxReplicas": 8, "template": {"spec": {"containers": [container]}}, **spec}
    job = {"apiVersion": "apportion.dev/v1alpha1", "kind": "TrainingJob", "spec": body, "status": status or {},
           "metadata": {"name": "a", "namespace": "team"}}  # fmt: skip
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump_all([node, job]))
    return str(tmp_path / "cluster.yaml")


def points(*pairs: tuple[int, float]) -> dict[str, Any]:
    at = "2026-01-01T00:00:00Z"
    return {"curve": {"points": [{"replicas": n, "flavor": "h100", "rate": x, "at": at} for n, x in pairs]}}


def of_job(*options: str) -> Result:
    return size("--job", "tj/a", "-n", "team", *options)


def test_a_declared_curve_sizes_its_job(tmp_path: Path) -> None:
    usl = {"lambda": 100, "sigma": 0.1, "kappa": 0}
    found = of_job("-f", cluster(tmp_path, scaling={"usl": usl}, target={"throughput": 350}))
    assert found.output.splitlines()[0] == "R = 5, T = 5"


def test_a_learned_curve_sizes_its_job_and_says_how_far_it_was_measured(tmp_path: Path) -> None:
    file = cluster(tmp_path, points((1, 100.0), (2, 199.0)))
    found = of_job("-f", file, "--threshold", "550", "--fixed", "10", "--per-replica", "2")
    assert found.output.splitlines()[0] == "R = 6, T = 22"
    assert "Beyond 4 replicas too far from what was measured" in found.output


def test_only_steps_of_the_job_are_a_choice(tmp_path: Path) -> None:
    usl = {"lambda": 100, "sigma": 0, "kappa": 0}
    found = of_job("-f", cluster(tmp_path, scaling={"usl": usl}, replicaSteps=[1, 2, 4, 8]), "--threshold", "450")
    assert found.output.startswith("R = 8, T = 8")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "team/a has no target.throughput: expected --threshold"),
        (("--threshold", "5"), "team/a has no curve: nothing is declared, and nothing was measured so far"),
        (("--threshold", "5", "--flavor", "b200"), "--flavor 'b200': expected one that team/a accepts: h100"),
        (("--threshold", "5", "-n", "other"), "there is no valid TrainingJob 'a' in namespace 'other'"),
    ],
)
def test_what_is_missing_of_a_job_is_said(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    found = of_job("-f", cluster(tmp_path), *options)
    assert found.exit_code == 2
    assert said in found.output
