"""Every command of the program, on one page; their bodies are elsewhere and imported when they are needed."""

import sys
from typing import Any

import click

from apportion import __version__
from apportion.cli.number import DAY, LARGEST, SEED, Number
from apportion.cli.writing import filled, put
from apportion.config import Settings

FILES = click.option(
    "-f", "--filename", "files", multiple=True, help="A file, or - for standard input; may be repeated."
)
KUBECONFIG = click.option("--kubeconfig", help="A kubeconfig file; default: KUBECONFIG, or the pod's ServiceAccount.")
CONTEXT = click.option("--context", help="The kubeconfig's context.")
RULES = ("static", "fifo", "drf", "max-min", "greedy")
AT = click.option("--at", "at_time", metavar="TIME", help="Decide as at this time (RFC 3339); default: now.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Elastic GPU and TPU allocation for Kubernetes."""


@cli.command()
def version() -> None:
    """Print the version."""
    click.echo(f"apportion {__version__}")


@cli.command()
@KUBECONFIG
@CONTEXT
@click.option("--namespace", default=Settings.namespace, show_default=True, help="Where the Lease is kept.")
@click.option(
    "--watch-namespace",
    "watch_namespaces",
    multiple=True,
    help="Look after TrainingJobs of this namespace only, by rights there only; may be repeated. Default: all.",
)
@click.option("--lease-name", default=Settings.lease_name, show_default=True)
@click.option("--lease-seconds", default=Settings.lease_seconds, show_default=True, type=Number(1, DAY))
@click.option("--leader-election/--no-leader-election", default=True, show_default=True)
@click.option("--identity", default="", help="This replica's name in the Lease; default: host name and a random part.")
@click.option("--host", default=Settings.host, show_default=True, help="Where metrics and probes are served.")
@click.option("--port", default=Settings.port, show_default=True, type=click.IntRange(0, 65535))
@click.option("--audit-seconds", default=Settings.audit_seconds, show_default=True, type=Number(1, DAY))
@click.option(
    "--observe-seconds",
    default=Settings.observe_seconds,
    show_default=True,
    type=Number(0.1, DAY),
    help="How often the rates of jobs are measured.",
)
@click.option(
    "--settle-seconds",
    default=Settings.settle_seconds,
    show_default=True,
    type=Number(0, DAY),
    help="How long after a resize rates are not learned from: at least the window of the queries.",
)
@click.option("--history-folder", default=Settings.history_folder)
@click.option(
    "--history-mebibytes", default=Settings.history_mebibytes, show_default=True, type=click.IntRange(1, 1_048_576)
)
@click.option("--log-format", default="json", show_default=True, type=click.Choice(["json", "text"]))
def run(log_format: str, **settings: object) -> None:
    """Run the operator against the cluster that the kubeconfig or the ServiceAccount names."""
    from apportion.cli.logs import configure

    configure(log_format)
    from apportion.controller import run as run_operator

    try:
        run_operator(Settings(**settings))  # type: ignore[arg-type]
    except OSError as error:
        click.echo(f"error: {settings['host']}:{settings['port']} cannot be served: {error.strerror}", err=True)
        sys.exit(1)


@cli.command()
@click.option("--output", "folder", default="crds", show_default=True, help="The folder to write to.")
def crds(folder: str) -> None:
    """Write the CustomResourceDefinitions, made from the models."""
    from apportion.api.crds import write

    filled(folder, lambda: write(folder))


@cli.command(hidden=True)
@click.option("--output", "folder", default="docs/reference", show_default=True, help="The folder to write to.")
def reference(folder: str) -> None:
    """Write docs/reference: the custom resources, the metrics, the commands."""
    from apportion.cli.reference import write

    filled(folder, lambda: write(cli, folder))


@cli.command()
@FILES
@KUBECONFIG
@CONTEXT
@AT
@click.option("-o", "--output", default="table", show_default=True, type=click.Choice(["table", "json", "yaml"]))
@click.option("--policy", "rule", type=click.Choice(RULES, case_sensitive=False), help="Share by another rule.")
@click.option(
    "--what-if", "changes", multiple=True, metavar="CHANGE", help="Show what a change would do; may be repeated."
)
def plan(
    files: tuple[str, ...],
    kubeconfig: str | None,
    context: str | None,
    at_time: str | None,
    **asked: Any,
) -> None:
    """Decide as the operator would, from files or from a live cluster; change nothing.

    With --what-if decide twice, as things are and with all the changes made, and show who gains and who loses.
    A CHANGE is one of:

    \b
    "queue research nominalQuota h100=16"   also borrowingLimit, lendingLimit
    "queue research weight=2"
    "tj/NAME maxReplicas=16"                also minReplicas, replicaSteps=2,4,8, suspend=true,
                                            preemptible, queueName, minRuntimeSeconds,
                                            restartSeconds; tj/NAMESPACE/NAME where needed
    "add 2 nodes like gpu-0001"
    "drain gpu-0003"
    "submit job.yaml"
    """
    from apportion.cli.plan import Asked, plan_command
    from apportion.cli.source import Source

    plan_command(Source(files, kubeconfig, context, at_time), Asked(**asked))


@cli.command()
@FILES
@KUBECONFIG
@CONTEXT
@click.option("-o", "--output", default="table", show_default=True, type=click.Choice(["table", "json", "html"]))
def assess(files: tuple[str, ...], kubeconfig: str | None, context: str | None, output: str) -> None:
    """Show what accelerators there are, who holds them, what gang would fit, and which job can use which.

    With -o html print one page with charts that needs nothing else; charts need the extra `charts` (matplotlib).
    """
    from apportion.cli.assess import assess_command
    from apportion.cli.source import Source

    assess_command(Source(files, kubeconfig, context, None), output)


@cli.command()
@FILES
@KUBECONFIG
@CONTEXT
@click.option("--once", is_flag=True, help="Print once and end, as with files or where the output is no terminal.")
@click.option("--interval", default=5.0, show_default=True, type=Number(1, DAY), help="Seconds between looks.")
def top(files: tuple[str, ...], kubeconfig: str | None, context: str | None, once: bool, interval: float) -> None:
    """Show flavors, queues and jobs with what they hold, cost and draw, and the prices; again and again.

    Each look reads the whole cluster. PRICE is the value of one more accelerator in the plan as of this moment. COST/H
    is money per hour, WATTS power, of accelerators that pods hold now; idle ones cost and draw too.
    """
    from apportion.cli.source import Source
    from apportion.cli.top import top_command

    top_command(Source(files, kubeconfig, context, None), once, interval)


@cli.command()
@click.argument("job", metavar="tj/NAME")
@click.option("-n", "--namespace", default="default", show_default=True)
@FILES
@KUBECONFIG
@CONTEXT
@AT
def explain(
    job: str,
    namespace: str,
    files: tuple[str, ...],
    kubeconfig: str | None,
    context: str | None,
    at_time: str | None,
) -> None:
    """Say what a job has, why not more, and why not elsewhere."""
    from apportion.cli.explain import explain_command
    from apportion.cli.source import Source

    explain_command(Source(files, kubeconfig, context, at_time), namespace, job)


@cli.command()
@click.option("--fixed", default="0", show_default=True, metavar="F", help="What any number of replicas costs.")
@click.option("--per-replica", metavar="G", help="What each of them costs. Default: 1; with --job the flavor's price.")
@click.option("--speedup", metavar="H", help="How much of one replica's performance each of R has.")
@click.option("--normaliser", metavar="N", help="What the performance of all is divided by. Default: 1.")
@click.option(
    "--threshold",
    type=Number(-LARGEST, LARGEST),
    metavar="C",
    help="What P must reach; with --job the rate, work per second.",
)
@click.option("--exactly", is_flag=True, help="P must be C, not C or more.")
@click.option("--max-replicas", default=1024, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--job", metavar="tj/NAME", help="Take the curve of this TrainingJob, declared or learned.")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("--flavor", help="With --job: the flavor. Default: where it runs, else the first that it accepts.")
@click.option("--png", metavar="FILE", help="Write the plot to this file as well (needs apportion[charts]).")
@FILES
@KUBECONFIG
@CONTEXT
@AT
def size(
    files: tuple[str, ...], kubeconfig: str | None, context: str | None, at_time: str | None, **asked: Any
) -> None:
    """Find the cheapest number of replicas R that is fast enough, and plot cost and performance over R.

    Minimises T(R) = F + G R subject to P(R) = H R / N >= C. F, G, H and N are formulas of R: numbers, + - * / **,
    sqrt, log, log2, exp, ceil, floor, min, max. The exit code is 1 where no R is fast enough.

    \b
    apportion size --fixed 10000 --per-replica 1000 --speedup "0.2*R**0.5" --normaliser R --threshold 0.9
    apportion size --job tj/llama-sft -n team-a --threshold 900
    """
    from apportion.cli.size import Asked, size_command
    from apportion.cli.source import Source

    size_command(Asked(**asked), Source(files, kubeconfig, context, at_time))


@cli.command()
@click.option("-f", "--filename", "files", multiple=True, help="A cluster, as plan reads it: for its size and flavors.")
@click.option("--seed", default=1, show_default=True, type=SEED, help="The same seed gives the same trace.")
@click.option(
    "--accelerators", default=64, show_default=True, type=click.IntRange(1, 10_000_000), help="Without -f: how many."
)
@click.option("--jobs", default=160, show_default=True, type=click.IntRange(1, 1_000_000))
@click.option("--hours", default=24.0, show_default=True, type=Number(0.01, 100_000))
@click.option("--load", default=1.0, show_default=True, type=Number(0.001, 100), help="Asked over there is.")
@click.option("--elastic", default=0.7, show_default=True, type=Number(0, 1), help="Part that can resize.")
@click.option("--shared", default=0.3, show_default=True, type=Number(0, 1), help="Part with a global batch.")
@click.option("--declared", default=0.0, show_default=True, type=Number(0, 1), help="Part that tells its curve.")
@click.option("--sized", default=0.0, show_default=True, type=Number(0, 1), help="Part that tells its work.")
@click.option("--deadlines", default=0.0, show_default=True, type=Number(0, 1), help="Part that has a deadline.")
@click.option("--tail", default=1.8, show_default=True, type=Number(0, 4), help="Sigma of log duration.")
@click.option("--swing", default=0.5, show_default=True, type=Number(0, 1), help="Of arrivals over a day.")
@click.option("-o", "--output", default="-", show_default=True, help="The file to write, or - for standard output.")
def trace(files: tuple[str, ...], seed: int, accelerators: int, output: str, **mix: Any) -> None:
    """Write a generated trace as CSV: heavy-tailed durations, arrivals by day and night, powers of two."""
    from apportion.cli.simulate import trace_command

    put(trace_command(files, seed, accelerators, **mix), output)


@cli.command()
@click.option("--trace", required=True, metavar="T", help="A CSV file, or generate:jobs=160,load=1,... for each seed.")
@click.option("--cluster", "files", required=True, multiple=True, metavar="C", help="A file as plan reads it; repeat.")
@click.option(
    "--policy", "policies", multiple=True, metavar="POLICY", help="A rule or an AllocationPolicy file; repeat."
)
@click.option("--seeds", default=5, show_default=True, type=click.IntRange(1, 1000), help="How many.")
@click.option("--first-seed", default=1, show_default=True, type=SEED)
@click.option("--round-seconds", default=60.0, show_default=True, type=Number(0.05, DAY))
@click.option("--noise", default=0.05, show_default=True, type=Number(0, 1), help="Of one measured rate.")
@click.option("--learning/--no-learning", default=True, show_default=True, help="Jobs report their rate.")
@click.option("--failure-hours", type=Number(0.1, 1_000_000), help="Mean of a node, between failures; default: none.")
@click.option("--repair-hours", default=1.0, show_default=True, type=Number(0.01, 100_000))
@click.option("--checkpoint-minutes", default=30.0, show_default=True, type=Number(0, 1_000_000))
@click.option("--processes", type=click.IntRange(1, 256), help="Simulations at once; default: one for each CPU.")
@click.option("-o", "--output", metavar="DIR", help="Write results.json, results.csv and index.html there.")
def simulate(files: tuple[str, ...], **asked: Any) -> None:
    """Play a trace on a cluster under several policies, and compare them with the first.

    POLICY is one of program, static, fifo, drf, max-min and greedy, or a file; without any, program. The cluster starts
    empty but for pods of others. Intervals are paired bootstrap intervals over the seeds, of 95 %.
    """
    from apportion.cli.simulate import Asked, simulate_command
    from apportion.cli.source import Source

    simulate_command(Source(files, None, None, None), Asked(**asked))


@cli.command()
@click.argument("folder", metavar="DIR")
@click.option("--at", "at_time", metavar="TIME", help="The last round at or before this time (RFC 3339), in full.")
@click.option(
    "--policy",
    metavar="POLICY",
    help="What this policy would have decided: a rule, or a file with an AllocationPolicy.",
)
@click.option("--check", is_flag=True, help="Decide each round again and say whether that is the same; so does --at.")
@click.option("-o", "--output", default="table", show_default=True, type=click.Choice(["table", "json"]))
def replay(folder: str, **asked: Any) -> None:
    """Show who decided what and why in recorded rounds, and what another policy would have decided.

    DIR is the folder that the operator recorded to (--history-folder). POLICY is one of program, static, fifo, drf,
    max-min and greedy, or a file. Each round is compared by itself, from the cluster as it was. The code is 1 if a
    round does not decide the same again, and 2 if a file is no round: it is named, and the others are replayed.
    """
    from apportion.cli.replay import Asked, replay_command

    replay_command(folder, Asked(**asked))


@cli.command()
@KUBECONFIG
@CONTEXT
@click.option("-o", "--output", default="-", show_default=True, help="The file to write, or - for standard output.")
def snapshot(kubeconfig: str | None, context: str | None, output: str) -> None:
    """Write all that the operator reads of a live cluster as one List, secrets and environment values left out."""
    from apportion.cli.source import Source, snapshot_text

    put(snapshot_text(Source((), kubeconfig, context, None)), output)


@cli.command()
@click.option("--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--nodes/--no-nodes", default=True, show_default=True, help="Start with a small mixed cluster.")
@click.option("--kubeconfig", "path", help="Write the kubeconfig to this file instead of printing it.")
def sandbox(port: int, nodes: bool, path: str | None) -> None:
    """Run the embedded cluster alone until interrupted."""
    from apportion.cli.stage import sandbox_command

    sandbox_command(port, nodes, path)


@cli.command()
@click.option("--keep", is_flag=True, help="Leave the cluster and the operator running at the end.")
@click.option("--plain", is_flag=True, help="Plain lines also on a terminal.")
def demo(keep: bool, plain: bool) -> None:
    """A story of about a minute on an embedded mixed cluster."""
    from apportion.cli.demo import demo_command

    sys.exit(demo_command(keep, plain))


def main() -> None:
    """The console script. File and connection errors end with code 2 and one line."""
    cli(prog_name="apportion")
