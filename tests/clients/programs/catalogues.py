"""The generated functions of the Python SDK: networks, images, catalogues, secrets, usages."""

import importlib
import sys
import uuid
from typing import Any

from blaxel.core.client import client
from blaxel.core.client import models as shapes

API = "blaxel.core.client.api"


def call(path: str, *arguments: Any, **keywords: Any) -> Any:
    """One generated function, such as ``vpcs/list_vp_cs``; fails unless the answer parses."""
    module = importlib.import_module(f"{API}.{path.replace('/', '.')}")
    answer = module.sync_detailed(*arguments, client=client, **keywords)
    assert answer.status_code < 300, (path, answer.status_code, answer.content)
    assert answer.parsed is not None or answer.status_code == 204, (path, answer.content)
    return answer.parsed


def named(kind: str, name: str, spec: dict[str, Any]) -> Any:
    """A model of the SDK from its JSON."""
    return getattr(shapes, kind).from_dict({"metadata": {"name": name}, "spec": spec})


def networks(tag: str) -> None:
    """Custom domains, VPCs, gateways and addresses."""
    domain = f"{tag}.example.com"
    call(
        "customdomains/create_custom_domain",
        body=named("CustomDomain", domain, {"region": "local"}),
    )
    made = call("customdomains/get_custom_domain", domain)
    assert made.spec.txt_records.additional_properties
    call("customdomains/update_custom_domain", domain, body=made)
    assert call("customdomains/verify_custom_domain", domain).spec.status == "failed"
    assert domain in [one.metadata.name for one in call("customdomains/list_custom_domains")]
    assert call("customdomains/list_custom_domain_shares", domain) == []
    call("customdomains/delete_custom_domain", domain)
    call("vpcs/create_vpc", body=named("VPC", tag, {"note": "x"}))
    gateway = named("EgressGateway", "gate", {"region": "us-pdx-1"})
    call("vpcs/create_egress_gateway", tag, body=gateway)
    address = named("EgressIP", "ip", {"ipFamily": "IPv4"})
    call("vpcs/create_egress_ip", tag, "gate", body=address)
    assert call("vpcs/get_egress_ip", tag, "gate", "ip").metadata.gateway_name == "gate"
    assert "gate" in call("vpcs/get_egress_gateway_usage").additional_properties
    for path, arguments in (
        ("vpcs/list_vp_cs", ()),
        ("vpcs/list_egress_gateways", (tag,)),
        ("vpcs/list_egress_i_ps", (tag, "gate")),
        ("vpcs/list_all_egress_gateways", ()),
        ("vpcs/list_all_egress_i_ps", ()),
    ):
        assert len(call(path, *arguments)) >= 1, path
    call("vpcs/delete_egress_ip", tag, "gate", "ip")
    call("vpcs/delete_egress_gateway", tag, "gate")
    call("vpcs/delete_vpc", tag)


def images(tag: str, newest: bool) -> None:
    """The registry of images."""
    body = {"name": tag, "resourceType": "sandbox", "image": "blaxel/base-image:latest"}
    call("images/create_image", body=shapes.CreateImageBody.from_dict(body))
    listed = call("images/list_images")
    assert tag in [image.metadata.name for image in (listed.data if newest else listed)]
    shown = call("images/get_image", "sandbox", tag)
    assert shown.metadata.status == "BUILT"
    if newest:
        tags = call("images/list_image_tags", "sandbox", tag)
        assert [one.name for one in tags.data] == ["latest"]
    else:
        assert [one.name for one in shown.spec.tags] == ["latest"]
    assert call("images/list_image_shares", "sandbox", tag) == []
    assert call("images/list_pending_image_shares") == []
    gone = call("images/delete_image_tag", "sandbox", tag, "latest")
    assert gone.metadata.name == tag
    call("images/create_image", body=shapes.CreateImageBody.from_dict(body))
    assert call("images/cleanup_images").deleted >= 1


def catalogues(tag: str, newest: bool) -> None:
    """What is offered, connections' models, policies' usages and secrets."""
    assert call("locations/list_locations")[0].region == "local"
    assert call("configurations/get_configuration").regions[0].name == "local"
    assert "local" in call("public_ipslist/list_public_ips").additional_properties
    assert call("sandboxhub/list_sandbox_hub_definitions")[0].image
    assert call("mcphub/list_mcp_hub_definitions") == []
    assert call("templates/list_templates") == []
    assert call("changelog/get_changelog").entries
    integration = call("integrations/get_integration", "openai")
    assert "/v1/chat/completions" in integration.endpoints.additional_properties
    policy = {"type": "location", "locations": [{"type": "location", "name": "local"}]}
    call("policies/create_policy", body=named("Policy", tag, policy))
    call("agents/create_agent", body=named("Agent", tag, {"policies": [tag]}))
    usages = call("policies/get_policy_usages", tag)
    assert [one.additional_properties for one in usages.agents] == [{"name": tag}]
    listed = call("policies/list_policies").data
    assert [one.usage.agents for one in listed if one.metadata.name == tag] == [1]
    call("agents/delete_agent", tag)
    call("policies/delete_policy", tag)
    if newest:
        secret = shapes.Secret.from_dict({"name": tag, "value": "hidden"})
        assert not call("secrets/upsert_secret", body=secret).value
        assert tag in [one.name for one in call("secrets/list_secrets")]
        call("secrets/delete_secret", tag)
        call("secrets/upsert_secret", body=secret)
        call("secrets/delete_secret_by_query", name=tag)


def main() -> None:
    """Everything, in the release that is installed."""
    newest = hasattr(shapes, "Secret")
    tag = f"s{uuid.uuid4().hex[:10]}"
    networks(tag)
    images(tag, newest)
    catalogues(tag, newest)
    sys.stdout.write("done\n")


main()
