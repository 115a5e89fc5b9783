"""What training jobs would export of themselves: a rate that follows a curve that only the test knows."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Truth = Callable[[int], float]


class Exporter(Collector):
    """Serves `samples_per_second{training=...}` and `progress{training=...}` on a port of the loopback address.

    replicas: by job, how many there are now; the test keeps it as the cluster has it. Asked at each scrape.
    """

    def __init__(self, truths: Mapping[str, Truth]) -> None:
        self.truths = dict(truths)
        self.replicas: dict[str, int] = {}
        self.progress: dict[str, float] = {}
        registry = CollectorRegistry()
        registry.register(self)
        self._server, self._thread = start_http_server(0, "127.0.0.1", registry)

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def collect(self) -> Iterator[Metric]:
        rates = GaugeMetricFamily("samples_per_second", "What the job does.", labels=["training"])
        for name, truth in self.truths.items():
            count = self.replicas.get(name, 0)
            rates.add_metric([name], truth(count) if count else 0.0)
        yield rates
        done = GaugeMetricFamily("progress", "The part that is done.", labels=["training"])
        for name, part in self.progress.items():
            done.add_metric([name], part)
        yield done

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
