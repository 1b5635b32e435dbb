"""A workload that has its SVIDs from the Workload API, by the SPIFFE client for Python, and hands them to a client beside it.

ARGV: a folder. SPIFFE_ENDPOINT_SOCKET names the socket. Writes `svid.pem`, `key.pem` and `bundle.pem` into the folder and prints
its SPIFFE ID; then each line that it reads is an audience, and it prints a JWT-SVID for it. Lives until its input ends.
"""

import pathlib
import sys

from cryptography.hazmat.primitives.serialization import Encoding
from spiffe import WorkloadApiClient


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    with WorkloadApiClient() as client:
        svid = client.fetch_x509_svid()
        svid.save(folder / "svid.pem", folder / "key.pem", Encoding.PEM)
        bundle = client.fetch_x509_bundles().get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
        assert bundle is not None, "no bundle of the SVID's trust domain"
        bundle.save(folder / "bundle.pem", Encoding.PEM)
        print(svid.spiffe_id, flush=True)
        for line in sys.stdin:
            token = client.fetch_jwt_svid(audience={line.strip()})
            assert token.spiffe_id == svid.spiffe_id, "another name in the JWT-SVID"
            print(token.token, flush=True)


main()
