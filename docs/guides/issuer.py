"""What others publish and sign, made by hand: an OpenID issuer's keys and tokens, a trust domain's bundle.

usage: issuer.py keys KEY | issuer.py token KEY ISSUER AUDIENCE SUBJECT | issuer.py bundle CERTIFICATE
"""

import base64
import json
import sys
import time

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from joserfc import jwt
from joserfc.jwk import ECKey

kind, path, *rest = sys.argv[1:]
with open(path, "rb") as file:
    text = file.read()
if kind == "bundle":
    root = x509.load_pem_x509_certificate(text)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    key = root.public_key().public_bytes(serialization.Encoding.PEM, form)
    der = root.public_bytes(serialization.Encoding.DER)
    members = {"use": "x509-svid", "x5c": [base64.b64encode(der).decode()]}
    members |= ECKey.import_key(key).as_dict(private=False)
    members.pop("kid", None)
    print(json.dumps({"keys": [members], "spiffe_sequence": 1}))
else:
    key = ECKey.import_key(text, {"kid": "1", "use": "sig", "alg": "ES256"})
    if kind == "keys":
        print(json.dumps({"keys": [key.as_dict(private=False)]}))
    else:
        issuer, audience, subject = rest
        now = int(time.time())
        claims = {"iss": issuer, "aud": audience, "sub": subject, "iat": now, "exp": now + 300}
        print(jwt.encode({"alg": "ES256", "kid": "1", "typ": "JWT"}, claims, key))
