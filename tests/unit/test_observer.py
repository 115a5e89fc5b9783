"""What the observer makes of Prometheus' answers and of annotations: a rate, or one sentence that says why not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from apportion.api.names import PROGRESS, THROUGHPUT
from apportion.config import Settings
from apportion.controller import prometheus
from apportion.controller.observer import Observer, read
from apportion.controller.prometheus import NoNumber, ask
from apportion.kube.cluster import Cluster, Observed
from apportion.kube.jobs import JobFacts, job_facts
from apportion.kube.kinds import JOB, POLICY
from apportion.kube.raw import timestamp
from apportion.model.jobs import Block, Job
from apportion.model.measured import Observation, Record
from apportion.model.policy import Prometheus
from builders import NOW, job, running

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

QUERY = "spec.scaling.metrics.query"


def vector(*values: object) -> dict[str, Any]:
    result = [{"metric": {"n": str(n)}, "value": [NOW, value]} for n, value in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as found:
        yield found


@pytest.fixture
async def served() -> AsyncIterator[Callable[[Any], Awaitable[Prometheus]]]:
    """Starts a server that answers each query so: a body, or a function of the request."""
    servers = []

    async def start(answer: Any) -> Prometheus:
        async def reply(request: web.Request) -> web.StreamResponse:
            if callable(answer):
                found: web.StreamResponse = await answer(request)
                return found
            return web.json_response(answer)

        app = web.Application()
        app.router.add_post("/prefix/api/v1/query", reply)
        server = TestServer(app)
        await server.start_server()
        servers.append(server)
        return Prometheus(str(server.make_url("/prefix")).rstrip("/"))

    yield start
    for server in servers:
        await server.close()


def facts(annotations: dict[str, str] | None = None, version: int = 1, **metrics: str) -> JobFacts:
    return job_facts(raw(annotations, version, **metrics))


def raw(annotations: dict[str, str] | None = None, version: int = 1, **metrics: str) -> dict[str, Any]:
    meta = {"namespace": "team", "name": "a", "uid": "uid-a", "resourceVersion": str(version)}
    spec = {"maxReplicas": 4, "workloadRef": {"name": "a"}, "scaling": {"metrics": metrics}}
    return {"metadata": {**meta, "annotations": annotations or {}}, "spec": spec}


@pytest.mark.parametrize(
    ("answer", "reason", "said"),
    [
        (vector(), "NoSeries", "returns nothing"),
        (vector("1", "2", "3"), "NotOneSeries", "3 series"),
        (vector("NaN"), "NotARate", "not a number"),
        (vector("-2"), "NotARate", "never negative"),
        (vector("+Inf"), "NotARate", "no rate is above"),
        (vector("many"), "NotARate", "not a number"),
        (vector(None), "NotARate", "not a number"),
        ({"status": "error", "error": "parse\nerror"}, "QueryFailed", "parse error"),
        ({"status": "success", "data": {"resultType": "matrix", "result": []}}, "NotOneSeries", "matrix"),
        ({"status": "success"}, "NotOneSeries", "None"),
        ([], "QueryFailed", "no result"),
    ],
)
async def test_an_answer_that_is_no_rate_is_told_with_the_field(
    session: aiohttp.ClientSession, served: Any, answer: Any, reason: str, said: str
) -> None:
    reading = await read(session, await served(answer), facts(query="q"))
    assert reading.rate is None
    assert reading.trouble is not None
    assert reading.trouble.reason == reason
    assert reading.trouble.message.startswith(f"{QUERY}: ")
    assert said in reading.trouble.message


async def test_a_query_is_asked_as_it_stands(session: aiohttp.ClientSession, served: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        form = await request.post()
        return web.json_response(vector("12.5" if form["query"] == 'sum(x{job="ä"})' else "0"))

    assert (await read(session, await served(answer), facts(query='sum(x{job="ä"})'))).rate == 12.5


async def test_the_token_is_read_for_each_query_and_goes_nowhere_else(
    session: aiohttp.ClientSession, served: Any, tmp_path: Path
) -> None:
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        if len(seen) == 3:
            return web.Response(status=302, headers={"Location": str(request.url)})
        return web.json_response(vector("1"))

    token = tmp_path / "token"
    source = replace(await served(answer), token_file=str(token))
    for text in ("one\n", "two"):
        token.write_text(text)
        assert await ask(session, source, "q") == 1.0
    with pytest.raises(NoNumber, match="302"):
        await ask(session, source, "q")
    assert seen == ["Bearer one", "Bearer two", "Bearer two"]
    token.unlink()
    with pytest.raises(NoNumber, match=r"bearerTokenFile .*No such file"):
        await ask(session, source, "q")
    assert len(seen) == 3


async def test_a_server_that_hangs_is_left(
    session: aiohttp.ClientSession, served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus, "TIMEOUT_SECONDS", 0.1)
    gone = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        await gone.wait()
        return web.json_response(vector("1"))

    reading = await read(session, await served(answer), facts(query="q"))
    gone.set()
    assert reading.trouble is not None
    assert "did not answer within 0.1 s" in reading.trouble.message


@pytest.mark.parametrize("body", [b"<html>", b"[" * 100_000, b'{"status": "success"}' + b" " * 2**20, b"\xff"])
async def test_an_answer_of_another_kind_is_survived(session: aiohttp.ClientSession, served: Any, body: bytes) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body)

    reading = await read(session, await served(answer), facts(query="q"))
    assert reading.trouble is not None
    assert reading.trouble.reason in ("QueryFailed", "NotOneSeries")


async def test_nobody_listens(session: aiohttp.ClientSession, served: Any) -> None:
    reading = await read(session, Prometheus("http://127.0.0.1:1"), facts(query="q"))
    assert reading.trouble is not None
    assert reading.trouble.reason == "QueryFailed"


async def test_a_query_without_a_source_says_what_is_missing(session: aiohttp.ClientSession) -> None:
    reading = await read(session, None, facts(query="q"))
    assert reading.trouble == Block("NoMetricsSource", f"{QUERY}: the AllocationPolicy has no metricsSource.prometheus")


@pytest.mark.parametrize(
    ("said", "rate", "reason"),
    [("12.5", 12.5, ""), ("fast", None, "NotANumber"), ("nan", None, "NotARate"), ("-1", None, "NotARate")],
)
async def test_an_annotation_tells_the_rate(
    session: aiohttp.ClientSession, said: str, rate: float | None, reason: str
) -> None:
    reading = await read(session, None, facts({THROUGHPUT: said}))
    assert reading.rate == rate
    assert (reading.trouble.reason if reading.trouble else "") == reason
    assert reading.trouble is None or "apportion.dev/throughput" in reading.trouble.message


async def test_progress_outside_its_bounds_takes_nothing_from_the_rate(session: aiohttp.ClientSession) -> None:
    reading = await read(session, None, facts({THROUGHPUT: "7", PROGRESS: "1.5"}))
    assert reading.rate == 7.0
    assert reading.progress is None
    assert reading.trouble is not None
    assert reading.trouble.reason == "NotAProgress"


# --- what is learned of it --------------------------------------------------------------------------------------------


@dataclass
class Stage:
    """The allocator's part: a cluster, one running job, and how often something was worth a round."""

    cluster: Cluster = field(default_factory=Cluster)
    jobs: list[Job] = field(default_factory=list)
    news: int = 0
    time: float = NOW

    def current(self) -> Collection[Job]:
        return self.jobs

    def measured(self) -> None:
        self.news += 1

    def now(self) -> float:
        return self.time


STATUS = {"admission": {"flavor": "h100", "replicas": 2, "round": 1, "since": "1970-01-11T10:00:00Z"}}


def staged(annotations: dict[str, str]) -> tuple[Stage, Observer]:
    """A job that has had two ready pods since long."""
    stage = Stage()
    stage.cluster.apply(JOB, {**raw(annotations), "status": STATUS})
    memory = stage.cluster.entries["TrainingJob"]["team", "a"].value.job.memory
    stage.jobs = [replace(running(job("a"), {"n1": 2}), memory=memory)]
    return stage, Observer(stage, Settings(settle_seconds=0), lambda: True, stage.now)


async def look(stage: Stage, observer: Observer, times: int) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(times):
            await observer.look(session)
            stage.time += 15


async def test_a_rate_is_known_to_the_next_snapshot_and_worth_one_round() -> None:
    stage, observer = staged({THROUGHPUT: "100"})
    await look(stage, observer, 6)
    assert stage.news == 1
    [known] = stage.cluster.observed.values()
    assert known.record.points == (Observation(2, "h100", 100.0, NOW + 30),)
    [seen] = stage.cluster.snapshot(NOW).jobs
    assert seen.memory.record == known.record


async def test_trouble_is_known_and_what_was_learned_stays() -> None:
    stage, observer = staged({THROUGHPUT: "100"})
    await look(stage, observer, 3)
    stage.cluster.apply(JOB, {**raw({THROUGHPUT: "fast"}, version=2), "status": STATUS})
    await look(stage, observer, 3)
    [known] = stage.cluster.observed.values()
    assert known.trouble is not None
    assert len(known.record.points) == 1
    assert stage.news == 2


async def test_a_job_that_starts_has_no_rate_and_no_trouble() -> None:
    stage, observer = staged({THROUGHPUT: "fast"})
    stage.jobs = [replace(stage.jobs[0], pods=())]
    await look(stage, observer, 3)
    assert stage.news == 0


async def test_a_job_that_says_nothing_of_itself_is_not_looked_at() -> None:
    stage, observer = staged({})
    await look(stage, observer, 3)
    assert not stage.cluster.observed


async def test_a_grant_that_the_snapshot_has_not_seen_is_waited_for() -> None:
    """Between two rounds the rate might be that of the old size: it is not taken for the new one's."""
    stage, observer = staged({THROUGHPUT: "100"})
    other = {"admission": {**STATUS["admission"], "replicas": 4, "round": 2}}
    stage.cluster.apply(JOB, {**raw({THROUGHPUT: "100"}, version=2), "status": other})
    await look(stage, observer, 6)
    assert not stage.cluster.observed


async def test_who_does_not_lead_any_more_forgets() -> None:
    """Another leader writes the statuses: what this one knew may be old when it leads again."""
    stage, observer = staged({THROUGHPUT: "100"})
    await look(stage, observer, 3)
    leads, waited = [False], asyncio.Event()
    observer.leads = lambda: waited.set() or leads[0]  # type: ignore[func-returns-value]
    running_ = asyncio.create_task(observer.run())
    await waited.wait()
    running_.cancel()
    assert not stage.cluster.observed
    assert not observer.stays


async def test_only_so_many_questions_are_open_at_once(
    session: aiohttp.ClientSession, served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, observer = staged({})
    open_, most = 0, 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal open_, most
        open_ += 1
        most = max(most, open_)
        await asyncio.sleep(0.01)
        open_ -= 1
        return web.json_response(vector("1"))

    source = await served(answer)
    stage.cluster.apply(POLICY, policy(source.url))
    base = stage.jobs[0]
    stage.jobs = []
    for number in range(40):
        name = f"a{number}"
        body = raw(query="q")
        body["metadata"] |= {"name": name, "uid": base.uid}
        stage.cluster.apply(JOB, {**body, "status": STATUS})
        stage.jobs.append(replace(base, key=base.key._replace(name=name)))
    await look(stage, observer, 1)
    assert 2 <= most <= 8
    assert len(stage.cluster.observed) == 40


def policy(url: str) -> dict[str, Any]:
    spec = {"metricsSource": {"prometheus": {"url": url}}}
    return {"metadata": {"name": "default", "uid": "p", "resourceVersion": "1"}, "spec": spec}


async def test_progress_is_known_to_the_next_snapshot() -> None:
    stage, observer = staged({PROGRESS: "0.25"})
    await look(stage, observer, 1)
    [known] = stage.cluster.observed.values()
    assert (known.record.progress, known.record.progress_at) == (0.25, NOW)


async def test_what_a_resize_cost_is_counted_once() -> None:
    """Counted with each rate, it would soon outweigh all that was known."""
    stage, observer = staged({THROUGHPUT: "100"})
    await look(stage, observer, 1)
    (key,) = stage.cluster.observed
    stage.cluster.observed[key] = Observed(stage.jobs[0].uid, Record((), 100.0))
    grant = {"admission": {**STATUS["admission"], "replicas": 3, "round": 2, "since": timestamp(NOW + 5)}}
    stage.cluster.apply(JOB, {**raw({THROUGHPUT: "100"}, version=2), "status": grant})
    memory = stage.cluster.entries["TrainingJob"]["team", "a"].value.job.memory
    stage.jobs = [replace(running(job("a"), {"n1": 3}, since=NOW + 5), memory=memory)]
    await look(stage, observer, 8)
    assert stage.cluster.observed[key].record.restart_seconds == 0.5 * 100 + 0.5 * 10


async def test_a_job_that_was_made_again_begins_with_what_its_own_status_says() -> None:
    stage, observer = staged({THROUGHPUT: "100"})
    await look(stage, observer, 3)
    again = raw({THROUGHPUT: "7"}, version=9)
    again["metadata"]["uid"] = "uid-again"
    grant = {"admission": {**STATUS["admission"], "round": 2, "since": timestamp(NOW - 10)}}
    stage.cluster.apply(JOB, {**again, "status": grant})
    memory = stage.cluster.entries["TrainingJob"]["team", "a"].value.job.memory
    stage.jobs = [replace(running(job("a"), {"n1": 2}, since=NOW - 10), uid="uid-again", memory=memory)]
    await look(stage, observer, 1)
    [known] = stage.cluster.observed.values()
    assert (known.uid, known.record.points) == ("uid-again", ())
    await look(stage, observer, 7)
    [known] = stage.cluster.observed.values()
    assert known.record.points
    assert known.record.restart_seconds is None, "it was started, not resized"


async def test_a_job_that_cannot_be_read_is_not_looked_at() -> None:
    stage, observer = staged({THROUGHPUT: "100"})
    broken = raw({THROUGHPUT: "100"}, version=2)
    broken["spec"]["minReplicas"] = -1
    stage.cluster.apply(JOB, {**broken, "status": STATUS})
    await look(stage, observer, 3)
    assert not stage.cluster.observed


async def test_the_same_trouble_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    stage, observer = staged({THROUGHPUT: "fast"})
    with caplog.at_level("WARNING", "apportion"):
        await look(stage, observer, 3)
    assert len(caplog.records) == 1


async def test_a_reply_without_end_is_not_read_to_it(session: aiohttp.ClientSession, served: Any) -> None:
    source = await served({**vector(1), "padding": "x" * prometheus.LONGEST_REPLY})
    with pytest.raises(NoNumber, match="the reply has more than"):
        await ask(session, source, "up")


async def test_what_a_server_says_is_cut(session: aiohttp.ClientSession, served: Any) -> None:
    source = await served({"status": "error", "error": "x" * 1000})
    with pytest.raises(NoNumber) as none:
        await ask(session, source, "up")
    assert none.value.message == "status 200: " + "x" * (prometheus.LONGEST_REASON - 3) + "..."


async def test_the_server_is_told_how_long_it_is_waited_for(session: aiohttp.ClientSession, served: Any) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(str((await request.post())["timeout"]))
        return web.json_response(vector(1))

    await ask(session, await served(answer), "up")
    assert asked == [f"{prometheus.TIMEOUT_SECONDS:g}s"]
