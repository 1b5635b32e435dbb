"""Fetches what the Workload API gives, with the SPIFFE client for Python, and checks it as that client does.

usage: spiffe_client.py AUDIENCE    (SPIFFE_ENDPOINT_SOCKET names the socket)
"""

import sys

from spiffe import WorkloadApiClient


def main() -> None:
    audience = sys.argv[1]
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
        print(svid.spiffe_id)


main()
