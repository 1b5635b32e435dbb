"""Fetches what the Workload API gives, with the SPIFFE client for Python, and checks it as that client does.

usage: spiffe_client.py AUDIENCE [DOMAIN TOKEN]    (SPIFFE_ENDPOINT_SOCKET names the socket)

DOMAIN is a foreign trust domain whose bundle must be given, and TOKEN a JWT-SVID of it for AUDIENCE.
"""

import sys

from spiffe import TrustDomain, WorkloadApiClient


def check_foreign(client: WorkloadApiClient, audience: str, domain: str, token: str) -> None:
    foreign = TrustDomain(domain)
    roots = client.fetch_x509_bundles().get_bundle_for_trust_domain(foreign)
    assert roots is not None and roots.x509_authorities, "no root of the foreign trust domain"
    context = client.fetch_x509_context()
    beside = context.x509_bundle_set.get_bundle_for_trust_domain(foreign)
    assert beside is not None, "no foreign bundle beside the SVID"
    assert beside.x509_authorities == roots.x509_authorities, "another bundle beside the SVID"
    keys = client.fetch_jwt_bundles().get_bundle_for_trust_domain(foreign)
    assert keys is not None, "no JWT key of the foreign trust domain"
    found = client.validate_jwt_svid(token, audience=audience)
    assert str(found.spiffe_id).startswith(f"spiffe://{domain}/"), "another name in the JWT-SVID"


def main() -> None:
    audience, *foreign = sys.argv[1:]
    with WorkloadApiClient() as client:
        svid = client.fetch_x509_svid()
        bundles = client.fetch_x509_bundles()
        roots = bundles.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
        assert roots is not None and roots.x509_authorities, "no root of the SVID's trust domain"
        token = client.fetch_jwt_svid(audience={audience})
        assert token.spiffe_id == svid.spiffe_id, "another name in the JWT-SVID"
        keys = client.fetch_jwt_bundles()
        assert keys.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain) is not None
        client.validate_jwt_svid(token.token, audience=audience)
        if foreign:
            check_foreign(client, audience, *foreign)
        print(svid.spiffe_id)


main()
