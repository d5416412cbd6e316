"""Makes a container, or a blob of a file: azure_put.py ENDPOINT ACCOUNT KEY NAME [FILE] (Shared Key authorization)."""

import base64
import hashlib
import hmac
import sys
import urllib.request
from email.utils import formatdate

endpoint, account, key, name, *file = sys.argv[1:]
path = f"/{account}/{name}"
headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
content, length, kind, query, resource = None, "", "", "?restype=container", "\nrestype:container"
if file:
    content = open(file[0], "rb").read()
    length, kind, query, resource = str(len(content)), "application/octet-stream", "", ""
    headers["x-ms-blob-type"] = "BlockBlob"
own = "".join(f"{header}:{value}\n" for header, value in sorted(headers.items()))
to_sign = f"PUT\n\n\n{length}\n\n{kind}\n" + "\n" * 6 + f"{own}/{account}{path}{resource}"
signature = base64.b64encode(
    hmac.new(base64.b64decode(key), to_sign.encode(), hashlib.sha256).digest()
).decode()
headers["Authorization"] = f"SharedKey {account}:{signature}"
if file:
    headers["Content-Type"] = kind
request = urllib.request.Request(f"{endpoint}{path}{query}", content, headers, method="PUT")
with urllib.request.urlopen(request) as response:
    assert response.status == 201, response.status
