"""Creates a container: azure_container.py ENDPOINT ACCOUNT KEY NAME (Shared Key authorization)."""

import base64
import hashlib
import hmac
import sys
import urllib.request
from email.utils import formatdate

endpoint, account, key, name = sys.argv[1:]
date = formatdate(usegmt=True)
path = f"/{account}/{name}"
to_sign = f"PUT{chr(10) * 12}x-ms-date:{date}\nx-ms-version:2021-12-02\n/{account}{path}\nrestype:container"
signature = base64.b64encode(
    hmac.new(base64.b64decode(key), to_sign.encode(), hashlib.sha256).digest()
).decode()
request = urllib.request.Request(
    f"{endpoint}{path}?restype=container",
    method="PUT",
    headers={
        "x-ms-date": date,
        "x-ms-version": "2021-12-02",
        "Authorization": f"SharedKey {account}:{signature}",
    },
)
with urllib.request.urlopen(request) as response:
    assert response.status == 201, response.status
