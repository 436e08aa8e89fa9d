"""What replicas share: quotas that hold over all of them, and metrics added up."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from sammed3d.server.compute.admission import Admission, BusyError
from sammed3d.server.http.keys import Quota
from sammed3d.server.ledger import Collector, Ledger, families_of
from sammed3d.server.metrics import Metrics


@pytest.fixture
def now():
    return [1000.0]


@pytest.fixture
def ledger(now):
    return Ledger(lambda: now[0])


class Replica:
    """Asks a ledger directly."""

    def __init__(self, ledger, name):
        self._ledger, self._name = ledger, name

    def charge(self, user, running, quota):
        return self._ledger.charge(self._name, user, running, quota)


def admissions(ledger, quota):
    return [Admission(100, {"anna": quota}, 1, Replica(ledger, name)) for name in "ab"]


def test_the_predictions_of_a_minute_are_those_of_all_replicas(ledger, now):
    first, second = admissions(ledger, Quota(per_minute=4))
    for admission in (first, second, first, second):
        admission.enter("anna", {})
    for admission in (first, second):
        with pytest.raises(BusyError, match="per minute") as refused:
            admission.enter("anna", {})
        assert refused.value.seconds == pytest.approx(15)
    first.enter("ben", {})  # who has no quota
    now[0] += 15.1
    second.enter("anna", {})


def test_the_predictions_under_way_are_those_of_all_replicas(ledger, now):
    first, second = admissions(ledger, Quota(waiting=2))
    first.enter("anna", {})
    second.enter("anna", {})
    with pytest.raises(BusyError, match="under way"):
        first.enter("anna", {"anna": 1})
    ledger.report("b", {})  # those of the second have ended
    first.enter("anna", {"anna": 1})
    now[0] += 20  # the first is gone: what it had running does not count for ever
    second.enter("anna", {})


def test_metrics_are_added_up_and_never_fall_when_a_replica_ends(ledger, now):
    replicas = [Metrics(), Metrics()]
    for n, metrics in enumerate(replicas):
        metrics.watch(lambda: 3, lambda: 100)
        for _ in range(n + 1):
            metrics.requested("POST", "/x", 200)
            metrics.predicted({"decode": 0.2})
        ledger.report(str(n), {}, families_of(metrics.registry))
    registry = CollectorRegistry()
    registry.register(Collector(ledger.families))
    value = registry.get_sample_value
    labels = {"method": "POST", "route": "/x", "status": "200"}
    assert value("sammed3d_requests_total", labels) == 3
    assert value("sammed3d_prediction_seconds_bucket", {"stage": "decode", "le": "0.25"}) == 3
    assert value("sammed3d_predictions") == 6
    assert value("sammed3d_replicas") == 2
    assert b"sammed3d_requests_total" in generate_latest(registry)
    now[0] += 20
    ledger.report("1", {}, families_of(replicas[1].registry))
    assert value("sammed3d_requests_total", labels) == 3, "what the first had counted stays"
    assert value("sammed3d_predictions") == 3
    assert value("sammed3d_replicas") == 1
