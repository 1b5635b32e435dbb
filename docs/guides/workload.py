"""A workload: gets its identity from the SPIFFE Workload API, reads a folder through Ambit's gateway, and completes its task.

usage: workload.py GATEWAY FOLDER    (SPIFFE_ENDPOINT_SOCKET names the socket)
"""

import http.client
import json
import ssl
import sys
import tempfile
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from spiffe import WorkloadApiClient
from spiffe.errors import PySpiffeError

gateway, folder = urlsplit(sys.argv[1]), sys.argv[2]
pem = serialization.Encoding.PEM
try:
    with WorkloadApiClient() as client:
        svid = client.fetch_x509_svid()
        bundles = client.fetch_x509_bundles()
except PySpiffeError as refusal:
    sys.exit(str(refusal))
print("I am", svid.spiffe_id)
roots = bundles.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain).x509_authorities
# The gateway is known by its trust domain, not by its host.
tls = ssl.create_default_context(cadata="".join(it.public_bytes(pem).decode() for it in roots))
tls.check_hostname = False
with tempfile.NamedTemporaryFile() as kept:
    for certificate in svid.cert_chain:
        kept.write(certificate.public_bytes(pem))
    kind, secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    kept.write(svid.private_key.private_bytes(pem, kind, secret))
    kept.flush()
    tls.load_cert_chain(kept.name)
call = {"name": "list_directory", "arguments": {"path": folder}}
headers = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2025-11-25",
}
ask = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
connection = http.client.HTTPSConnection(gateway.hostname, gateway.port, context=tls)
connection.request("POST", "/s/filesystem/mcp", json.dumps(ask), headers)
answer = connection.getresponse()
text = answer.read().decode()
print(answer.status, text)
if answer.status != 200 or '"isError":true' in text:
    sys.exit(1)
# The work is done, and so is the task. Without this it would end as cancelled, once the process is gone.
connection.request("POST", "/v1/task/complete", "{}", headers)
answer = connection.getresponse()
print(answer.status, answer.read().decode())
sys.exit(0 if answer.status == 200 else 1)
