"""Addresses at which clouds give a machine its credentials; docs/security.md has the same table.

A build must reach none of them: one request is enough to act as the node. Most are link-local or private and refused
for that already. They are listed nevertheless, because no entry of ``BUILDFARM_SANDBOX_ALLOW`` opens them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetadataAddress:
    """One address and the page of its vendor that documents it."""

    address: str
    clouds: str
    source: str
    dns: bool = False  # also the cloud's name server: port 53 stays open


METADATA = (
    MetadataAddress(
        "169.254.169.254",
        "AWS, Azure, Google, Oracle, OpenStack, Akamai and others",
        "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html",
    ),
    MetadataAddress(
        "168.63.129.16",
        "Azure WireServer, a public address",
        "https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16",
        dns=True,
    ),
    MetadataAddress(
        "169.254.170.2",
        "AWS ECS tasks",
        "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v2.html",
    ),
    MetadataAddress(
        "169.254.170.23",
        "AWS EKS Pod Identity",
        "https://docs.aws.amazon.com/eks/latest/userguide/pod-id-agent-setup.html",
    ),
    MetadataAddress(
        "100.100.100.200",
        "Alibaba Cloud",
        "https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata",
    ),
    MetadataAddress(
        "192.0.0.192",
        "Oracle Cloud at Customer and Classic",
        "https://docs.oracle.com/en/cloud/cloud-at-customer/occ-get-started/retrieve-predefined-instance-metadata.html",
    ),
    MetadataAddress(
        "169.254.42.42",
        "Scaleway",
        "https://cloudinit.readthedocs.io/en/latest/reference/datasources/scaleway.html",
    ),
)

# The sandboxes' network has no IPv6 (see workers/sandbox/network_rules.py), so these need no rule.
METADATA_IPV6 = (
    MetadataAddress(
        "fd00:ec2::254", "AWS", "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html"
    ),
    MetadataAddress(
        "fd00:ec2::23",
        "AWS EKS Pod Identity",
        "https://docs.aws.amazon.com/eks/latest/userguide/pod-id-agent-setup.html",
    ),
    MetadataAddress("fd20:ce::254", "Google", "https://cloud.google.com/compute/docs/metadata/querying-metadata"),
    MetadataAddress(
        "fd00:c1::a9fe:a9fe", "Oracle", "https://docs.oracle.com/iaas/Content/Compute/Tasks/gettingmetadata.htm"
    ),
    MetadataAddress(
        "fd00:42::42", "Scaleway", "https://cloudinit.readthedocs.io/en/latest/reference/datasources/scaleway.html"
    ),
    MetadataAddress(
        "fd00:a9fe:a9fe::1", "Akamai", "https://cloudinit.readthedocs.io/en/latest/reference/datasources/akamai.html"
    ),
)
