"""A sandbox without its server, on a clock that tests move."""

from apportion.sandbox import ManualClock, Sandbox, container
from apportion.sandbox.pods import is_ready

GPU = "nvidia.com/gpu"


class World:
    """The store of the sandbox, and its clock."""

    def __init__(self, **options):
        self.clock = ManualClock()
        self.store = Sandbox(clock=self.clock, bind_seconds=0.1, start_seconds=1, **options).store

    def add(self, *objects):
        for obj in objects:
            self.store.apply(obj)

    def after(self, seconds):
        self.clock.advance(seconds)
        return self

    def pods(self):
        return self.store.list("pods")

    def running(self):
        return [each for each in self.pods() if is_ready(each)]

    def status(self, name, kind="deployments"):
        return self.store.get(kind, "default", name)["status"]

    def edit(self, kind, namespace, name, **spec):
        self.store.update(kind, namespace, name, lambda old: {**old, "spec": {**old["spec"], **spec}})

    def set_ready(self, name, value):
        obj = self.store.get("nodes", "", name)
        for each in obj["status"]["conditions"]:
            if each["type"] == "Ready":
                each["status"] = value
        self.store.apply(obj)


def gpus(number):
    return {"containers": [container(GPU, number)]}
