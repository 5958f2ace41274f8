"""`GET /metrics` as a Prometheus server reads it, and who may read what of it."""

import threading
from collections.abc import Callable, Iterable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from platform_server import KEY, Server
from serai.api.scopes import scopes_of
from serai.telemetry.exposition import Exposition, Reading
from serai.telemetry.metrics import MOST_CODES, MOST_SERIES, Distribution, LoopLag, ModelMetrics

from .calls import call, shown, until
from .provider import Provider

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"


def scraped(api: httpx.Client, accept: str = "text/plain") -> dict[str, Metric]:
    answer = api.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    parse = openmetrics if "openmetrics" in answer.headers["content-type"] else plain
    assert ("openmetrics" in accept) == (parse is openmetrics)
    return {family.name: family for family in parse(answer.text)}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    """The sum of the samples that have these labels."""
    samples = [sample for family in families.values() for sample in family.samples]
    return sum(
        sample.value
        for sample in samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


@pytest.mark.parametrize("accept", ["text/plain", OPENMETRICS])
def test_calls_are_counted_in_both_formats(
    api: httpx.Client, provider: Provider, accept: str
) -> None:
    model = provider.model(api)
    for prompt in ("a", "wait 0.3", "fail"):
        call(api, model, prompt)
    mine = {"workspace": "main", "model": model}
    until(lambda: value(scraped(api), "serai_model_requests_total", **mine) == 3)
    seen = scraped(api, accept)
    assert value(seen, "serai_model_requests_total", status="200", provider="openai", **mine) == 2
    assert value(seen, "serai_model_requests_total", status="429", **mine) == 1
    assert value(seen, "serai_model_errors_total", code="slow_down", origin="provider", **mine) == 1
    assert value(seen, "serai_model_cached_tokens_total", **mine) == 8
    told = {"gen_ai_provider_name": "openai", "gen_ai_operation_name": "chat", **mine}
    usage, duration = "gen_ai_client_token_usage", "gen_ai_server_request_duration_seconds"
    assert value(seen, f"{usage}_sum", gen_ai_token_type="input", **told) == 22
    assert value(seen, f"{usage}_sum", gen_ai_token_type="output", **told) == 10
    assert value(seen, f"{usage}_bucket", gen_ai_token_type="input", le="4.0", **told) == 0
    assert value(seen, f"{usage}_bucket", gen_ai_token_type="input", le="16.0", **told) == 2
    assert value(seen, f"{duration}_count", **told) == 3
    assert value(seen, f"{duration}_bucket", le="0.25", **told) == 2
    assert value(seen, "gen_ai_server_time_to_first_token_seconds_count", **told) == 3
    assert value(seen, "process_cpu_seconds_total") > 0
    until(lambda: value(scraped(api), "serai_event_loop_lag_seconds_count"))


@pytest.mark.parametrize("stream", [False, True])
def test_calls_under_way_are_seen(
    api: httpx.Client, server: Server, provider: Provider, stream: bool
) -> None:
    model = provider.model(api)
    call(api, model)  # leaves a connection, so that the next ones may go the short way

    def slow() -> None:
        with server.client_for(KEY) as own:
            call(own, model, "hold" if stream else "wait 1.5", stream=stream)

    threads = [threading.Thread(target=slow) for _ in range(2)]
    for thread in threads:
        thread.start()
    name = "serai_model_requests_in_flight"
    until(lambda: value(scraped(api), name, workspace="main", model=model) == 2)
    for thread in threads:
        thread.join()
    assert value(scraped(api), name, workspace="main", model=model) == 0


def test_refusals_are_counted_by_code(api: httpx.Client, provider: Provider) -> None:
    limits = {"granularity": "month", "step": 1, "total": 1}
    policy = {"metadata": {"name": "tiny"}, "spec": {"type": "maxToken", "maxTokens": limits}}
    assert api.post("/v0/policies", json=policy).is_success
    model = provider.model(api, policies=["tiny"])
    assert [call(api, model).status_code for _ in range(3)] == [200, 429, 429]
    mine = {"model": model, "code": "POLICY_VIOLATION"}
    until(lambda: value(scraped(api), "serai_model_refusals_total", **mine) == 2)
    assert value(scraped(api), "serai_model_requests_total", model=model) == 1


def test_metrics_need_an_admin_and_show_only_their_workspaces(
    server: Server, api: httpx.Client, provider: Provider
) -> None:
    model = provider.model(api)
    call(api, model)
    until(lambda: value(scraped(api), "serai_model_requests_total", model=model))
    made = server.run("accounts", "create", "More", "--email", "m@y.zz", "--workspace", "more")
    key = next(word for word in made.stdout.split() if word.startswith("bl_"))
    with server.client_for(key) as stranger:
        seen = scraped(stranger)
        assert value(seen, "serai_model_requests_total") == 0
        assert "process_cpu_seconds" not in seen
        assert model not in stranger.get("/metrics").text
    for path in ("/metrics", "//metrics", "/metrics/"):
        assert httpx.get(server.url + path, trust_env=False).status_code in (401, 404), path
    assert httpx.get(f"{server.url}/metrics", trust_env=False).status_code == 401
    prometheus = {"Authorization": f"Bearer {KEY}"}
    answer = httpx.get(f"{server.url}/metrics", headers=prometheus, trust_env=False)
    assert answer.status_code == 200


def test_numbers_go_with_their_model(api: httpx.Client, provider: Provider) -> None:
    model = provider.model(api)
    call(api, model)
    until(lambda: value(scraped(api), "serai_model_requests_total", model=model))
    assert api.delete(f"/v0/models/{model}").is_success
    assert f'model="{model}"' not in api.get("/metrics").text


@pytest.mark.parametrize("again", [False, True])
def test_a_stream_that_outlives_its_model_brings_no_numbers_back(
    api: httpx.Client, server: Server, provider: Provider, again: bool
) -> None:
    """Nor does it count for a new model of the same name."""
    model = provider.model(api)
    answers = []

    def stream() -> None:
        with server.client_for(KEY) as own:
            answers.append(call(own, model, "hold", stream=True))

    thread = threading.Thread(target=stream)
    thread.start()
    flying = "serai_model_requests_in_flight"
    until(lambda: value(scraped(api), flying, workspace="main", model=model) == 1)
    body = api.get(f"/v0/models/{model}").json()
    assert api.delete(f"/v0/models/{model}").is_success
    if again:
        assert api.post("/v0/models", json=body).is_success
    thread.join()
    shown(api, answers[0])  # its row is made after it was counted
    assert answers[0].text.endswith("data: [DONE]\n\n")
    assert value(scraped(api), "serai_model_requests_total", model=model) == 0


def test_members_may_not_read_metrics(server: Server, api: httpx.Client) -> None:
    made = api.post("/v0/service_accounts", json={"name": "scraper", "role": "member"})
    assert made.is_success, made.text
    client_id = made.json()["client_id"]
    key = api.post(f"/v0/service_accounts/{client_id}/api_keys", json={"name": "k"}).json()
    with server.client_for(key["apiKey"]) as member:
        answer = member.get("/metrics")
        assert (answer.status_code, "admin" in answer.text) == (403, True)
    assert scopes_of("GetMetrics") == {"metrics:get"}


def render(metrics: ModelMetrics, workspaces: Iterable[str]) -> str:
    exposition = Exposition(metrics, LoopLag(), str)
    reading = Reading(workspaces=frozenset(workspaces), whole=False)
    return exposition.render("text/plain", reading)[0].decode()


def test_the_number_of_series_is_bounded() -> None:
    metrics = ModelMetrics()
    for number in range(MOST_SERIES + 50):
        metrics.of("w", f"m{number}", "openai", "chat").failed("x", "provider")
    assert len(metrics.series) == MOST_SERIES + 1
    assert sum(sum(each.errors.values()) for _, each in metrics.seen(None)) == MOST_SERIES + 50
    one = metrics.of("w", "m0", "openai", "chat")
    for number in range(MOST_CODES * 2):
        one.failed(f"code {number}", "provider")
        one.refused(f"code {number}")
    assert len(one.errors) <= MOST_CODES + 1
    assert len(one.refusals) <= MOST_CODES + 1
    assert sum(one.refusals.values()) == MOST_CODES * 2


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_name_makes_readable_text(model: str, code: str) -> None:
    metrics = ModelMetrics()
    metrics.of("w", model, "openai", "chat").failed(code, "provider")
    families = list(plain(render(metrics, ["w"])))
    (sample,) = [s for f in families for s in f.samples if s.name == "serai_model_errors_total"]
    assert (sample.labels["model"], sample.labels["code"], sample.value) == (model, code, 1)
    assert "w" not in {s.labels.get("workspace") for f in plain(render(metrics, ["v"]))
                       for s in f.samples}  # fmt: skip


@given(st.lists(st.floats(0, 1000)))
def test_a_distribution_counts_what_lies_up_to_each_bound(values: list[float]) -> None:
    distribution = Distribution((1.0, 10.0, 100.0))
    for one in values:
        distribution.add(one)
    bounds = [1.0, 10.0, 100.0, float("inf")]
    counted = [float(sum(one <= bound for one in values)) for bound in bounds]
    assert [number for _, number in distribution.buckets()] == counted


def test_sandboxes_are_counted_by_state(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    with server.client_for(KEY) as api:
        body = {"metadata": {"name": "box"}, "spec": {"runtime": {"image": "blaxel/base-image"}}}
        assert api.post("/v0/sandboxes", json=body).is_success
        running = {"workspace": "main", "state": "running"}
        until(lambda: value(scraped(api), "serai_sandboxes", **running) == 1)
        assert api.delete("/v0/sandboxes/box").is_success
        until(lambda: value(scraped(api), "serai_sandboxes", **running) == 0)
