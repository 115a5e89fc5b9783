"""Ways into an API server: kubeconfigs, tokens of ServiceAccounts, and requests for the control plane's own needs."""

import base64
import http.client
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REQUEST_SECONDS = 10
TOKEN_SECONDS = 24 * 3600


class Refused(Exception):
    """The API server answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True)
class Access:
    """One identity at one API server on the loopback address. `authority`: file with the certificate to trust."""

    port: int
    authority: Path
    token: str

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def kubeconfig(self) -> str:
        """As YAML, with all in it that a client needs."""
        name = "controlplane"
        authority = base64.b64encode(self.authority.read_bytes()).decode()
        context = {"name": name, "context": {"cluster": name, "user": name}}
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": name, "cluster": {"server": self.url, "certificate-authority-data": authority}}],
                "users": [{"name": name, "user": {"token": self.token}}],
                "contexts": [context],
                "current-context": name,
            }
        )

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """The parsed reply, text if it is no JSON. Blocks. Raises Refused, OSError (nobody answers).

        The control plane starts and stops from tests with and without an event loop, so it does not bring its own.
        """
        connection = http.client.HTTPSConnection(
            "127.0.0.1",
            self.port,
            timeout=REQUEST_SECONDS,
            context=ssl.create_default_context(cafile=str(self.authority)),
        )
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            reply = connection.getresponse()
            content = reply.read().decode()
        except http.client.HTTPException as error:
            raise ConnectionError(f"{method} {path}: {error}") from error
        finally:
            connection.close()
        if reply.status >= 400:
            raise Refused(reply.status, content)
        return json.loads(content) if reply.headers.get_content_type() == "application/json" else content

    def of_service_account(self, namespace: str, name: str) -> "Access":
        """The same server with a token of a ServiceAccount, from the TokenRequest API."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_SECONDS},
        }
        return Access(self.port, self.authority, self.request("POST", path, asked)["status"]["token"])
