"""Custom domains, VPCs, egress gateways and egress IPs."""
